"""The C++ of a recurrent cell's equations: they are called with symbols, which write the lines.

One loop over the rows of a time step computes all of them, and reads and writes each number once.
Inductor's own kernel for the same function has a loop for each tensor that is written in place, and
took 1.2 of this one's time. It compiles the code, for the processor's vector instructions, and
caches the library on disk.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

TYPES = {  # in memory, and while it is computed with
    torch.float32: ("float", "float"),
    torch.float64: ("double", "double"),
    torch.bfloat16: ("c10::BFloat16", "float"),
}
Symbols = Sequence["Symbol"]
Lines = Callable[[Symbols], Sequence["Symbol | None"]]


class Symbol:
    """A number of the equations, by its name in C++; what is computed of it is one more line."""

    def __init__(self, lines: list[str], value: str) -> None:
        self.lines, self.name = lines, f"v{len(lines)}"
        lines.append(f"const V {self.name} = {value};")

    def _new(self, form: str, *others: object) -> "Symbol":
        return Symbol(self.lines, form.format(self.name, *map(_text, others)))

    def __add__(self, other: object) -> "Symbol":
        return self._new("{0} + {1}", other)

    def __sub__(self, other: object) -> "Symbol":
        return self._new("{0} - {1}", other)

    def __rsub__(self, other: object) -> "Symbol":
        return self._new("{1} - {0}", other)

    def __mul__(self, other: object) -> "Symbol":
        return self._new("{0} * {1}", other)

    def __pow__(self, exponent: int) -> "Symbol":
        assert exponent == 2, "the equations have no other power"
        return self._new("{0} * {0}")

    def __le__(self, other: object) -> "Symbol":
        return self._new("{0} <= {1}", other)

    def sigmoid(self) -> "Symbol":
        """Return 1 / (1 + exp(-x))."""
        return self._new("V(1) / (V(1) + {0}.neg().exp())")

    def tanh(self) -> "Symbol":
        """Return tanh x."""
        return self._new("tanh_of({0})")

    def clamp_min(self, least: float) -> "Symbol":
        """Return max(x, least); NaN stays NaN."""
        return self._new("V::blendv({0}, {1}, {0} < {1})", least)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> "Symbol":
        """Return torch.where of symbols."""
        if function is not torch.where or kwargs:
            raise TypeError(f"a cell's equations call {function}, which has no line in C++")
        condition, one, other = args
        chosen: Symbol = condition._new("V::blendv({2}, {1}, {0})", one, other)
        return chosen


def _text(value: object) -> str:
    return value.name if isinstance(value, Symbol) else f"V({value})"


CODE = """\
#include <algorithm>
#include <type_traits>
#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>

using Wide = {computed};
using V = at::vec::Vectorized<Wide>;

template <typename Number>
static inline V get(const Number* from, int64_t n) {{
    if constexpr (std::is_same_v<Number, Wide>) {{
        return V::loadu(from, n);
    }} else {{
        V wide;
        if (n == V::size()) {{
            at::vec::load_fp32_from_bf16(from, wide);
        }} else {{
            Number all[V::size()] = {{}};
            std::copy_n(from, n, all);
            at::vec::load_fp32_from_bf16(all, wide);
        }}
        return wide;
    }}
}}

template <typename Number>
static inline void put(const V& value, Number* to, int64_t n) {{
    if constexpr (std::is_same_v<Number, Wide>) {{
        value.store(to, n);
    }} else {{
        at::vec::convert_from_float<Number>(value, value).store(to, n);
    }}
}}

// The library's vector tanh takes 30 us for 64 x 256 numbers, this one 10, within 2 units in the
// last place: near 0 by Cephes' polynomial (S. Moshier), where 1 - 2 / (1 + exp 2x) would cancel.
static inline V tanh_of(const V& x) {{
    if constexpr (!std::is_same_v<Wide, float>) {{
        return x.tanh();
    }} else {{
        const V xx = x * x;
        V near = V(-5.70498872745e-3f);
        near = near * xx + V(2.06390887954e-2f);
        near = near * xx + V(-5.37397155531e-2f);
        near = near * xx + V(1.33314422036e-1f);
        near = near * xx + V(-3.33332819422e-1f);
        const V far = V(1) - V(2) / (V(1) + (x + x).exp_u20());
        const V y = V::blendv(far, x + x * xx * near, x.abs() < V(0.625f));
        return V::blendv(y, x, x != x);  // exp_u20 loses a NaN
    }}
}}

extern "C" void kernel(int64_t step, int64_t rows, int64_t width, int64_t threads,
                       void* const* memory, const int64_t* stride, const int64_t* advance) {{
    #pragma omp parallel for num_threads(threads) if(threads > 1)
    for (int64_t row = 0; row < rows; row++) {{
        {rows}
        for (int64_t x = 0; x < width; x += V::size()) {{
            const int64_t n = std::min<int64_t>(V::size(), width - x);
            {lines}
        }}
    }}
}}
"""


def code_of(equations: Lines, dtypes: Sequence[torch.dtype]) -> str:
    """Return the C++ of equations between tensors of these dtypes.

    equations  given a symbol for each tensor, return what is written to it, None where nothing is
    """
    lines: list[str] = []
    given = [Symbol(lines, f"get(at{k} + x, n)") for k in range(len(dtypes))]
    for k, result in enumerate(equations(given)):
        if result is not None:
            lines.append(f"put({result.name}, at{k} + x, n);")
    (computed,) = {TYPES[each][1] for each in dtypes}
    rows = [
        f"auto* at{k} = static_cast<{TYPES[each][0]}*>(memory[{k}]) + step * advance[{k}]"
        f" + row * stride[{k}];"
        for k, each in enumerate(dtypes)
    ]
    return CODE.format(
        computed=computed, rows="\n        ".join(rows), lines="\n            ".join(lines)
    )


class CompiledEquations:
    """Equations between tensors as a function in machine code, compiled at once."""

    def __init__(self, equations: Lines, dtypes: Sequence[torch.dtype]) -> None:
        from torch._inductor.codecache import CppCodeCache  # seconds, and most runs do without

        library = CppCodeCache.load(code_of(equations, dtypes))
        self.function = library.kernel
        self.function.restype = None
        self.dtypes = dtypes

    def over(self, rows: int, tensors: Sequence[Tensor]) -> Callable[[int], None]:
        """Return what runs time step t on its rows of the tensors.

        tensors  [B, H], of which step t has the rows t * rows to (t + 1) * rows; [rows, H], which
                 every step has; or [H], which every row has. They must live as long as it is called
        """
        width = tensors[0].shape[-1]
        for each, dtype in zip(tensors, self.dtypes, strict=True):
            assert each.dtype == dtype, "the code is for another dtype"
            assert each.stride(-1) == 1, "a row lies in one piece"
            assert each.shape[-1] == width, "all tensors have the same columns"
        strides = [each.stride(0) if each.dim() == 2 else 0 for each in tensors]
        advances = [
            rows * stride if each.dim() == 2 and len(each) > rows else 0
            for each, stride in zip(tensors, strides, strict=True)
        ]
        threads = torch.get_num_threads() if rows * width >= 2**15 else 1
        memory = (ctypes.c_void_p * len(tensors))(*[each.data_ptr() for each in tensors])
        numbers = ctypes.c_int64 * len(tensors)
        rest = [*map(ctypes.c_int64, (rows, width, threads)), memory, numbers(*strides)]
        rest.append(numbers(*advances))

        def run(step: int) -> None:
            self.function(ctypes.c_int64(step), *rest)

        return run
