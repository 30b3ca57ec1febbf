"""What a process asks of its networks."""

from ddim_app.diffusion.sampler import Query, answer


def asked(process):
    """(network, rows) of each query of a process, whose networks are a formula; and the numbers of the steps that it reports."""
    queries, steps, item = [], [], next(process)
    while True:
        try:
            if isinstance(item, Query):
                queries.append((item.network, len(item.t)))
                item = process.send(answer(item, (0.5 * item.x_t).sin()))
            else:
                steps.append(item.k)
                item = next(process)
        except StopIteration:
            return queries, steps
