"""Loaded models, the last few of them, each loaded once and again when its folder has changed."""

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable

from ddim_app.errors import FieldError
from ddim_app.models.catalogue import Catalogue
from ddim_app.models.loading import Model, ModelError

KEPT = 4
REFUSALS_KEPT = 64


class ModelCache:
    """Models by name. Loading one, which may mean a download, keeps nobody waiting who asks for another.

    `call` calls what loads, with its arguments, on the thread that is meant for it.
    """

    def __init__(self, catalogue: Catalogue, call: Callable[..., Model] = lambda load, *given: load(*given)) -> None:
        self._catalogue, self._call = catalogue, call
        self._models: OrderedDict[str, tuple[object, Model]] = OrderedDict()
        self._refusals: OrderedDict[str, str] = OrderedDict()
        self._guard = threading.Lock()
        self._loading: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def get(self, name: str, notify: Callable[[str], None]) -> Model:
        """The model of that name as its folder is now; raises FieldError when it cannot be used."""
        name = self._catalogue.known_as(name)
        with self._guard:
            loading = self._loading[name]
        with loading:
            version = self._catalogue.version(name)
            with self._guard:
                known, model = self._models.get(name, (None, None))
            if model is None or known != version:
                try:
                    model = self._call(self._catalogue.load, name, notify)
                except ModelError as error:
                    reason = str(error).removeprefix("model ")
                    with self._guard:
                        self._loading.pop(name, None)
                        self._refuse(name, reason)
                    raise FieldError("model", reason) from error
            with self._guard:
                self._refusals.pop(name, None)
                self._models[name] = version, model
                self._models.move_to_end(name)
                while len(self._models) > KEPT:
                    self._models.popitem(last=False)
            return model

    def renewed(self) -> "ModelCache":
        """A copy with the same models and new locks, for a forked process."""
        other = ModelCache(self._catalogue, self._call)
        other._models = self._models.copy()
        return other

    def has(self, name: str) -> bool:
        """Whether a model can be had without a download."""
        return self._catalogue.known_as(name) in self._models or self._catalogue.folder(name) is not None

    def refusal(self, name: str) -> FieldError | None:
        """Why a model that is not here could not be used when it was last fetched."""
        with self._guard:
            reason = self._refusals.get(self._catalogue.known_as(name))
        return None if reason is None else FieldError("model", reason)

    def _refuse(self, name: str, reason: str) -> None:
        self._refusals[name] = reason
        self._refusals.move_to_end(name)
        while len(self._refusals) > REFUSALS_KEPT:
            self._refusals.popitem(last=False)

    def put(self, model: Model) -> Model:
        """Keeps a model that no folder holds."""
        with self._guard:
            self._models[model.name] = self._catalogue.version(model.name), model
        return model

    def loaded(self, name: str) -> Model | None:
        """The model of that name if it is loaded already."""
        with self._guard:
            return self._models.get(self._catalogue.known_as(name), (None, None))[1]

    def hashes(self) -> set[str]:
        """sha256 of the weights of the models kept."""
        with self._guard:
            return {model.sha256 for _, model in self._models.values()}
