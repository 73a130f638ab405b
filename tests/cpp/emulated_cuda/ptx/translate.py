"""Translate PTX, as nvcc makes it of the backend's kernels, to C++ for the emulated device.

    python translate.py KERNELS.ptx... > kernels.cpp

Each instruction becomes a statement; registers are variables. An instruction that the kernels do
not use so far raises KeyError or ValueError: nothing is passed over.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

TYPES = {
    **{f"{kind}{bits}": f"uint{bits}_t" for kind in "bu" for bits in (8, 16, 32, 64)},
    **{f"s{bits}": f"int{bits}_t" for bits in (8, 16, 32, 64)},
    "f32": "float",
    "f64": "double",
    "pred": "bool",
}
SPECIAL = {
    "%tid.x": "threadIdx.x",
    "%ctaid.x": "blockIdx.x",
    "%ctaid.y": "blockIdx.y",
    "%globaltimer": "emulated::ticks()",
    "_": "ignored",
}
COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "div": "/", "rem": "%"}
BITWISE = {"and": "&", "or": "|", "xor": "^"}
ATOMIC = {"add": "x + y", "min": "x < y ? x : y", "max": "x > y ? x : y", "or": "x | y"}
SHUFFLES = {"bfly": "__shfl_xor_sync", "down": "__shfl_down_sync", "idx": "__shfl_sync"}
DYNAMIC = "start_of_shared"  # ptx.cuh's name of the memory whose size the launch says


def split(text: str) -> list[str]:
    """Split operands at the commas that are in no braces."""
    return [part.strip() for part in re.split(r",(?![^{]*\})", text) if part.strip()]


def unsigned(kind: str) -> str:
    return kind if kind[0] == "f" else "u" + kind[1:]


class Kernel:
    def __init__(self, name: str, parameters: str, body: str) -> None:
        found = re.search(r"\d([a-z_]+_kernel)E", name)
        if found is None:
            raise ValueError(f"{name} is no kernel of the backend")
        self.name = found.group(1)
        names = re.findall(r"\w+_param_\d+", parameters)
        self.parameters = {parameter: i for i, parameter in enumerate(names)}
        self.declarations: list[str] = []
        self.statements: list[str] = []
        for statement in re.findall(r"[\w$]+:|[^;:]+;", body):
            self.add(statement.strip().rstrip(";").strip())

    def add(self, statement: str) -> None:
        statement = statement.lstrip("{} \t\n")  # the braces of inline assembly
        if statement.endswith(":"):
            self.statements.append(label(statement[:-1]) + ":;")
        elif statement.startswith(".reg"):
            kind, registers = re.fullmatch(r"\.reg \.(\w+)\s+(.*)", statement).groups()
            self.declarations += [declare(TYPES[kind], register) for register in split(registers)]
        elif statement.startswith(".shared"):
            name, size = re.search(r"(\w+)\[(\d+)\]", statement).groups()
            self.declarations.append(f"alignas(16) __shared__ std::byte {name}[{size}];")
        elif statement and not statement.startswith(".pragma"):
            guard, op, operands = re.fullmatch(r"(?:@(!?%\w+)\s+)?(\S+)\s*(.*)", statement).groups()
            condition = f"if ({guard.replace('%', '')}) " if guard else ""
            self.statements.append(condition + self.translate(op, split(operands)))

    def translate(self, op: str, a: list[str]) -> str:
        name, *rest = op.split(".")
        method = getattr(self, f"_{name}", None)
        if method is not None:
            return method(rest, a)
        kind = rest[-1] if rest else ""
        value = expression(name, rest, kind, a)
        return assign(a[0], value)

    def address(self, operand: str, rest: list[str]) -> str:
        base, offset = re.fullmatch(r"\[([%\w$]+?)(?:\+(-?\d+))?\]", operand).groups()
        if "param" in rest:
            return f"parameter(parameters, {self.parameters[base]}, {offset or 0})"
        start = f"{value_of(base)} + ({offset or 0})"
        return f"shared_at({start})" if "shared" in rest else f"device_at({start})"

    def _ld(self, rest: list[str], a: list[str]) -> str:
        kind = TYPES[rest[-1]]
        place = self.address(a[1], rest)
        if "acquire" in rest:
            return assign(a[0], f"claid::cuda::load_acquire(*reinterpret_cast<{kind}*>({place}))")
        to = registers(a[0])
        load = "copy_parameter" if "param" in rest else "load"
        parts = "".join(assign(to[i], f"v[{i}]") for i in range(len(to)) if to[i] != "_")
        return f"{{ {kind} v[{len(to)}]; {load}(v, {place}); {parts} }}"

    def _st(self, rest: list[str], a: list[str]) -> str:
        kind = TYPES[rest[-1]]
        place = self.address(a[0], rest)
        if "release" in rest:
            flag = f"*reinterpret_cast<{kind}*>({place})"
            return f"claid::cuda::store_release({flag}, {value_of(a[1])});"
        values = ", ".join(cast(rest[-1], register) for register in registers(a[1]))
        return f"{{ const {kind} v[] = {{{values}}}; store({place}, v); }}"

    def _mov(self, rest: list[str], a: list[str]) -> str:
        if a[0].startswith("{"):
            to = registers(a[0])
            bits = int(rest[-1][1:]) // len(to)
            parts = "".join(
                assign(to[i], f"v >> {bits * i}") for i in range(len(to)) if to[i] != "_"
            )
            return f"{{ const uint64_t v = bits_of({value_of(a[1])}); {parts} }}"
        if a[1].startswith("{"):
            parts = registers(a[1])
            bits = int(rest[-1][1:]) // len(parts)
            joined = " | ".join(
                f"static_cast<uint64_t>({cast(f'u{bits}', parts[i])}) << {bits * i}"
                for i in range(len(parts))
            )
            return f"set_bits({value_of(a[0])}, {joined});"
        if rest[-1] in ("b32", "b64"):
            return f"set_bits({value_of(a[0])}, bits_of({value_of(a[1])}));"
        return assign(a[0], value_of(a[1]))

    def _cvta(self, rest: list[str], a: list[str]) -> str:
        if "shared" in rest and "to" not in rest:
            return assign(a[0], f"reinterpret_cast<uint64_t>(shared_at({value_of(a[1])}))")
        return assign(a[0], value_of(a[1]))

    def _atom(self, rest: list[str], a: list[str]) -> str:
        kind, change = TYPES[unsigned(rest[-1])], ATOMIC[rest[-2]]
        target = f"reinterpret_cast<{kind}*>({self.address(a[1], rest)})"
        step = f"[y = {cast(unsigned(rest[-1]), a[2])}]({kind} x) -> {kind} {{ return {change}; }}"
        return assign(a[0], f"emulated::change_atomically({target}, {step})")

    def _cp(self, rest: list[str], a: list[str]) -> str:
        if rest[-1] == "commit_group":
            return "claid::cuda::end_copy_group();"
        if rest[-1] == "wait_group":
            return f"claid::cuda::wait_for_copy_groups({cast('u32', a[0])});"
        to, start = self.address(a[0], ["shared"]), self.address(a[1], ["global"])
        return f"claid::cuda::copy_async_16({to}, {start});"

    def _mma(self, rest: list[str], a: list[str]) -> str:
        to, left, right, sum_ = (registers(operand) for operand in a)
        types = f"<claid::cuda::Bytes::{rest[-3]}, claid::cuda::Bytes::{rest[-2]}>"
        words = [", ".join(cast("u32", x) for x in part) for part in (left, right)]
        sums = ", ".join(cast("s32", x) for x in sum_)
        call = (
            f"mma_16x8x32{types}(s, a, b)"
            if len(to) == 4
            else f"mma_8x8x16{types}(s[0], s[1], a[0], b[0])"
        )
        parts = "".join(assign(to[i], f"s[{i}]") for i in range(len(to)))
        return (
            f"{{ int32_t s[] = {{{sums}}}; const uint32_t a[] = {{{words[0]}}}, "
            f"b[] = {{{words[1]}}}; claid::cuda::{call}; {parts} }}"
        )

    def _bra(self, _: list[str], a: list[str]) -> str:
        return f"goto {label(a[0])};"

    def _ret(self, _: list[str], __: list[str]) -> str:
        return "return;"

    def _bar(self, _: list[str], __: list[str]) -> str:
        return "__syncthreads();"

    def _nanosleep(self, _: list[str], __: list[str]) -> str:
        return "__nanosleep(1);"

    def __str__(self) -> str:
        lines = "\n    ".join([*self.declarations, *self.statements])
        return (
            f"void {self.name}(const void* const* parameters) {{\n"
            f"    uint64_t ignored = 0;\n    {lines}\n}}\n"
        )


def label(name: str) -> str:
    return name.replace("$", "label_")


def declare(kind: str, register: str) -> str:
    name, count = re.fullmatch(r"%(\w+)(?:<(\d+)>)?", register).groups()
    names = [name] if count is None else [f"{name}{i}" for i in range(int(count))]
    return f"[[maybe_unused]] {kind} " + ", ".join(f"{n} = 0" for n in names) + ";"


def registers(operand: str) -> list[str]:
    return split(operand[1:-1]) if operand.startswith("{") else [operand]


def value_of(operand: str) -> str:
    if operand in SPECIAL:
        return SPECIAL[operand]
    if operand.startswith("%"):
        return operand[1:]
    if re.fullmatch(r"0[fF][0-9A-Fa-f]{8}", operand):
        return f"std::bit_cast<float>(0x{operand[2:]}U)"
    if re.fullmatch(r"0[dD][0-9A-Fa-f]{16}", operand):
        return f"std::bit_cast<double>(0x{operand[2:]}ULL)"
    if re.fullmatch(r"-?(0x[0-9A-Fa-f]+|\d+)U?", operand):
        return f"({operand.rstrip('U')}LL)"
    return "kDynamicShared" if DYNAMIC in operand else f"shared_address({operand})"


def cast(kind: str, operand: str) -> str:
    return f"static_cast<{TYPES[kind]}>({value_of(operand)})"


def assign(register: str, value: str) -> str:
    name = value_of(register.split("|", maxsplit=1)[0])
    return f"{name} = static_cast<decltype({name})>({value});"


def product(name: str, rest: list[str], kind: str, a: list[str]) -> str:
    if "hi" in rest:
        raise ValueError(f"no high halves of products so far: {rest}")
    wide = f"{kind[0]}{2 * int(kind[1:])}" if "wide" in rest else kind
    factors = [cast(kind, operand) for operand in a[1:3]]
    # Signed integers are multiplied as unsigned ones, which wrap.
    if kind[0] != "f":
        modulo = TYPES[unsigned(wide)]
        factors = [f"static_cast<{modulo}>(static_cast<{TYPES[wide]}>({x}))" for x in factors]
    value = f"{factors[0]} * {factors[1]}"
    return value if name == "mul" else f"{value} + {cast(unsigned(wide), a[3])}"


def comparison(_: str, rest: list[str], kind: str, a: list[str]) -> str:
    x, y = cast(kind, a[1]), cast(kind, a[2])
    if kind[0] != "f":
        return f"{x} {COMPARE[rest[0]]} {y}"
    if rest[0].endswith("u"):
        return f"{x} {COMPARE[rest[0][:-1]]} {y} || std::isunordered({x}, {y})"
    return f"{x} {COMPARE[rest[0]]} {y} && !std::isunordered({x}, {y})"


def conversion(_: str, rest: list[str], __: str, a: list[str]) -> str:
    to, start = rest[-2:]
    if start in ("f16", "bf16"):
        return f"{'half' if start == 'f16' else 'bfloat16'}_to_float({value_of(a[1])})"
    if start[0] != "f" or to[0] == "f":
        return f"static_cast<{TYPES[to]}>({cast(start, a[1])})"
    if "rni" not in rest:
        raise ValueError(f"only rounding to the nearest so far: {rest}")
    return f"std::rint({cast(start, a[1])})"


def shuffle(_: str, rest: list[str], __: str, a: list[str]) -> str:
    width = f"static_cast<int>(32 - ({cast('u32', a[3])} >> 8))"
    lanes = f"{cast('u32', a[4])}, {cast('u32', a[1])}, {cast('s32', a[2])}"
    return f"{SHUFFLES[rest[1]]}<uint32_t>({lanes}, {width})"


def minimum_of_warp(_: str, rest: list[str], __: str, a: list[str]) -> str:
    if rest != ["sync", "min", "u32"]:
        raise ValueError(f"only the least of a warp so far: {rest}")
    return f"__reduce_min_sync({cast('u32', a[2])}, {cast('u32', a[1])})"


def negation(name: str, _: list[str], kind: str, a: list[str]) -> str:
    if name == "neg":
        return f"-{cast(kind, a[1])}" if kind[0] == "f" else f"0 - {cast(unsigned(kind), a[1])}"
    return f"!{cast(kind, a[1])}" if kind == "pred" else f"~{cast(kind, a[1])}"


def choice(_: str, __: list[str], kind: str, a: list[str]) -> str:
    return f"{value_of(a[3])} ? {cast(kind, a[1])} : {cast(kind, a[2])}"


def shift(name: str, _: list[str], kind: str, a: list[str]) -> str:
    way = "left" if name == "shl" else "right"
    return f"shift_{way}({cast(kind, a[1])}, {cast('u32', a[2])})"


EXPRESSIONS = {
    "mul": product,
    "mad": product,
    "setp": comparison,
    "cvt": conversion,
    "shfl": shuffle,
    "redux": minimum_of_warp,
    "neg": negation,
    "not": negation,
    "selp": choice,
    "shl": shift,
    "shr": shift,
}
# By all of the instruction but its type.
FUNCTIONS = {
    "abs": "std::fabs",
    "sqrt.rn": "std::sqrt",
    "popc": "std::popcount",
    "prmt": "__byte_perm",
    "brev": "reversed",
    "bfi": "insert_bits",
    "shf.l.wrap": "funnel_shift_left",
    "bfind.shiftamt": "std::countl_zero",
    "min": "std::min",
    "max": "std::max",
}


def expression(name: str, rest: list[str], kind: str, a: list[str]) -> str:
    """Return what an instruction puts in its first operand."""
    if name in EXPRESSIONS:
        return EXPRESSIONS[name](name, rest, kind, a)
    if name in ARITHMETIC:
        of = unsigned(kind) if name in ("add", "sub") else kind
        return f"{cast(of, a[1])} {ARITHMETIC[name]} {cast(of, a[2])}"
    if name in BITWISE:
        return f"{cast(kind, a[1])} {BITWISE[name]} {cast(kind, a[2])}"
    arguments = ", ".join(cast(kind, operand) for operand in a[1:])
    return f"{FUNCTIONS['.'.join([name, *rest[:-1]])]}({arguments})"


def main() -> None:
    kernels = []
    for path in sys.argv[1:]:
        text = re.sub(r"//.*", "", Path(path).read_text())
        for found in re.finditer(r"\.entry (\w+)\((.*?)\)(?:[^{]*?)\n\{\n(.*?)\n\}\n", text, re.S):
            kernels.append(Kernel(*found.groups()))
    print('#include "ptx_runtime.hpp"\n\nnamespace emulated::ptx {\nnamespace {\n')
    print("\n".join(map(str, kernels)))
    table = ", ".join(f'{{"{kernel.name}", {kernel.name}}}' for kernel in kernels)
    print(f"}}\nconst Kernel kKernels[] = {{{table}}};")
    print(f"const std::size_t kKernelCount = {len(kernels)};\n}}")


if __name__ == "__main__":
    main()
