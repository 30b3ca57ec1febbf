"""Names of models as people give them."""

import pytest

from ddim_app.models.names import HubName, canonical, hub_name

CANONICAL = {
    " google/ddpm-cifar10-32 ": "google/ddpm-cifar10-32",
    "google/ddpm-cifar10-32/": "google/ddpm-cifar10-32",
    "https://huggingface.co/google/ddpm-cifar10-32": "google/ddpm-cifar10-32",
    "http://www.huggingface.co/google/ddpm-cifar10-32/": "google/ddpm-cifar10-32",
    "huggingface.co/google/ddpm-cifar10-32/tree/main": "google/ddpm-cifar10-32",
    "hf.co/google/ddpm-cifar10-32": "google/ddpm-cifar10-32",
    "HTTPS://HuggingFace.co/google/ddpm-cifar10-32?library=diffusers#top": "google/ddpm-cifar10-32",
    "https://huggingface.co/models/google/ddpm-cifar10-32": "google/ddpm-cifar10-32",
    "https://huggingface.co/google/ddpm-cifar10-32/tree/fp16": "google/ddpm-cifar10-32@fp16",
    "https://huggingface.co/google/ddpm-cifar10-32/blob/main/unet/config.json": "google/ddpm-cifar10-32",
    "https://huggingface.co/google/ddpm-cifar10-32/blob/v1/config.json": "google/ddpm-cifar10-32@v1",
    "https://huggingface.co/google/ddpm-cifar10-32/tree/refs%2Fpr%2F7": "google/ddpm-cifar10-32@refs/pr/7",
    "https://huggingface.co/google/ddpm-cifar10-32/blob/refs%2Fpr%2F7/unet/config.json": "google/ddpm-cifar10-32@refs/pr/7",
    "https://huggingface.co/google/ddpm-cifar10-32/resolve/refs/pr/7/config.json": "google/ddpm-cifar10-32@refs/pr/7",
    "https://huggingface.co/google/ddpm-cifar10-32/discussions": "google/ddpm-cifar10-32",
    "google/ddpm-cifar10-32@refs/pr/7": "google/ddpm-cifar10-32@refs/pr/7",
    "google/ddpm-cifar10-32@main": "google/ddpm-cifar10-32",
    "avatars-32": "avatars-32",
    "weights/avatars-32/": "weights/avatars-32",
    "https://huggingface.co/": "https://huggingface.co",
    "https://huggingface.co/google": "https://huggingface.co/google",
    "https://example.org/a/b": "https://example.org/a/b",
    "https://huggingface.co.example.org/a/b": "https://huggingface.co.example.org/a/b",
    "/": "/",
    "": "",
}


@pytest.mark.parametrize("given", CANONICAL)
def test_a_name_is_read_as_it_is_meant(given):
    assert canonical(given) == CANONICAL[given]
    assert canonical(canonical(given)) == canonical(given)


def test_ids_and_revisions():
    assert hub_name("google/ddpm-cifar10-32") == HubName("google/ddpm-cifar10-32")
    assert hub_name("google/ddpm-cifar10-32@refs/pr/7") == HubName("google/ddpm-cifar10-32", "refs/pr/7")
    assert str(HubName("a1/b1", "refs/pr/7")) == "a1/b1@refs/pr/7"
    assert HubName("a1/b1", "refs/pr/7").pull_request == "7"
    assert HubName("a1/b1", "v1").pull_request is None


@pytest.mark.parametrize(
    "name",
    ["weights", "a--b/c", "a..b/c", "ü/b",
     "a1/b/c", "-a/b", "a/b-", "http://a/b", "a1/b1@", "a1/b1@../../x", "a1/b1@-x", "a1/b1@x y", "spaces/a1/b1",
     "a1/b1@" + "x" * 200, "https://huggingface.co/datasets/a1/b1"],
)  # fmt: skip
def test_what_is_no_id(name):
    assert hub_name(canonical(name)) is None
