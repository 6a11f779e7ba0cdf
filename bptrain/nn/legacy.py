"""Arguments of torch.nn that are refused here: deprecated ones, and `inplace`."""


def refuse_legacy_reduction(size_average: object, reduce: object) -> None:
    """Raise NotImplementedError if one of the arguments that `reduction` replaced is given."""
    if size_average is not None or reduce is not None:
        raise NotImplementedError(
            "size_average and reduce are not offered: torch deprecated them, use reduction"
        )


def refuse_inplace(inplace: bool) -> None:
    """Raise NotImplementedError if `inplace` is True."""
    if inplace:
        raise NotImplementedError(
            "inplace=True is not offered: inputs are never modified, the layer before may have "
            "saved the one that would be overwritten"
        )
