"""Deprecated arguments of torch.nn, which are refused here."""


def refuse_legacy_reduction(size_average: object, reduce: object) -> None:
    """Raise NotImplementedError if one of the arguments that `reduction` replaced is given."""
    if size_average is not None or reduce is not None:
        raise NotImplementedError(
            "size_average and reduce are not offered: torch deprecated them, use reduction"
        )
