"""Windows that slide over a picture, at a cost that hardly grows with their radius."""

import torch


def sliding_max(values: torch.Tensor, radius: int) -> torch.Tensor:
    """The largest value of the square of a radius around each place, edges repeated.

    Rows and columns one after the other. Windows are doubled until they reach far enough, so that the cost grows with
    the logarithm of the radius.

    >>> sliding_max(torch.tensor([[0., 0, 1, 0, 0, 0]]), 1)
    tensor([[0., 1., 1., 1., 0., 0.]])
    """
    return _max_along(_max_along(values, radius, 0), radius, 1)


def sliding_mean(values: torch.Tensor, radius: int) -> torch.Tensor:
    """The mean over the square of a radius around each place, edges repeated.

    Rows and columns one after the other, each from running sums in float64. What is 0 throughout a window has a mean
    of exactly 0.

    >>> sliding_mean(torch.tensor([[0., 0, 3, 0, 0, 0]]), 1)
    tensor([[0., 1., 1., 1., 0., 0.]])
    """
    wide = values.cpu().double()  # not every device knows float64
    return _mean_along(_mean_along(wide, radius, 0), radius, 1).to(values)


def _max_along(values: torch.Tensor, radius: int, dim: int) -> torch.Tensor:
    length = values.shape[dim]
    radius = min(radius, length - 1)
    window, reach = 2 * radius + 1, 1
    values = _edges_repeated(values, radius, dim)
    while 2 * reach <= window:
        count = values.shape[dim] - reach
        values = torch.maximum(values.narrow(dim, 0, count), values.narrow(dim, reach, count))
        reach *= 2
    return torch.maximum(values.narrow(dim, 0, length), values.narrow(dim, window - reach, length))


def _mean_along(values: torch.Tensor, radius: int, dim: int) -> torch.Tensor:
    window, length = 2 * radius + 1, values.shape[dim]
    values = _edges_repeated(values, radius, dim)
    sums = torch.cat([torch.zeros_like(values.narrow(dim, 0, 1)), values.cumsum(dim)], dim)
    return (sums.narrow(dim, window, length) - sums.narrow(dim, 0, length)) / window


def _edges_repeated(values: torch.Tensor, radius: int, dim: int) -> torch.Tensor:
    places = torch.arange(-radius, values.shape[dim] + radius, device=values.device)
    return values.index_select(dim, places.clamp(0, values.shape[dim] - 1))
