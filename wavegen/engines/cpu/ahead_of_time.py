"""Functions that numba has compiled, as an object file for this machine or another: one kernel for every place.

numba hands out the LLVM code that it made of a function; llvmlite's LLVM makes objects of that for every CPU, and
WebAssembly. LLVM code is made for vectors of some width, so it is made in a process of its own (`compiled_for`), with
the environment of a `Target`.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types

from wavegen.architectures import find
from wavegen.engines.cpu.host import CPU_FEATURES, CPU_NAME, HOST, TRIPLE
from wavegen.engines.cpu.packing import VectorUnit
from wavegen.engines.cpu.simd import DOT_GROUPS, DOT_PAIRS
from wavegen.engines.cpu.tuples import load_leaves
from wavegen.errors import InputError


class Target(NamedTuple):
    """A machine: LLVM's names of it, what numba is told to compile for, and the width of its vectors."""

    triple: str
    cpu: str
    features: str
    unit: VectorUnit
    environment: Mapping[str, str]  # of the process that makes an object


FOUR_LANES = VectorUnit(4, 8, 4, False)
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
WITH_DOT_GROUPS = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "+avxvnni"}  # simd.HAS_RELAXED_DOT
# Of what numba optimises function by function nothing is left when all is optimised as one.
OF_THIS_CPU = {"NUMBA_CPU_NAME": CPU_NAME, "NUMBA_CPU_FEATURES": CPU_FEATURES, "NUMBA_OPT": "0"}
NO_SURPRISES = {"NUMBA_DISABLE_JIT": "0", "NUMBA_DISABLE_INTEL_SVML": "1"}  # nothing is left out, or called elsewhere
OF_WASM = "+simd128,+bulk-memory,+nontrapping-fptoint"
TARGETS = {
    "wasm32": Target("wasm32-unknown-unknown", "generic", OF_WASM, FOUR_LANES, GENERIC),
    "wasm32-relaxed": Target(
        "wasm32-unknown-unknown", "generic", f"{OF_WASM},+relaxed-simd", FOUR_LANES, WITH_DOT_GROUPS
    ),
    "native": Target(TRIPLE, CPU_NAME, CPU_FEATURES, HOST, OF_THIS_CPU),
    "x86-64": Target("x86_64-unknown-linux-gnu", "x86-64", "", FOUR_LANES, GENERIC),
    "aarch64": Target("aarch64-unknown-linux-gnu", "generic", "", FOUR_LANES, GENERIC),
}
PORTABLE_DOT_PAIRS = """
define internal <4 x i32> @dot_pairs(<8 x i16> %a, <8 x i16> %b) alwaysinline {
  %wide_a = sext <8 x i16> %a to <8 x i32>
  %wide_b = sext <8 x i16> %b to <8 x i32>
  %products = mul <8 x i32> %wide_a, %wide_b
  %first = shufflevector <8 x i32> %products, <8 x i32> poison, <4 x i32> <i32 0, i32 2, i32 4, i32 6>
  %second = shufflevector <8 x i32> %products, <8 x i32> poison, <4 x i32> <i32 1, i32 3, i32 5, i32 7>
  %sums = add <4 x i32> %first, %second
  ret <4 x i32> %sums
}
"""
# The inputs have 7 bits and the weights are no -128, so that nothing is left to the browser (kernel.input_steps).
RELAXED_DOT_GROUPS = """
declare <4 x i32> @llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed(<16 x i8>, <16 x i8>, <4 x i32>)
define internal <4 x i32> @dot_groups(<4 x i32> %total, <16 x i8> %inputs, <16 x i8> %weights) alwaysinline {
  %sums = call <4 x i32> @llvm.wasm.relaxed.dot.i8x16.i7x16.add.signed(
    <16 x i8> %weights, <16 x i8> %inputs, <4 x i32> %total)
  ret <4 x i32> %sums
}
"""


def object_file(functions: Mapping[str, tuple[Any, tuple[types.Type, ...]]], target: Target) -> bytes:
    """An object file of functions, by the names that they are to have, each with the numba types of its arguments.

    They take 64-bit integers, doubles and the addresses of tuples (tuples.py), and return nothing, or one 64-bit
    integer or double. Nothing else in it is visible.

    Raises: InputError where this LLVM has no such target.
    """
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        machine = llvm.Target.from_triple(target.triple).create_target_machine(
            cpu=target.cpu, features=target.features, opt=3, reloc="static" if "wasm" in target.triple else "pic"
        )
    except RuntimeError as error:
        raise InputError(f"this LLVM makes nothing for {target.triple}: {error}") from error
    whole = None
    for name, (function, arguments) in functions.items():
        module = llvm.parse_assembly(_retargeted(_assembly(name, function, arguments), target.triple, machine))
        if whole is None:
            whole = module
        else:
            whole.link_in(module)
    assert whole is not None  # there are some
    whole.verify()
    for function in whole.functions:
        if not function.is_declaration:
            function.linkage = "external" if function.name in functions else "internal"
    for variable in whole.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(whole, passes)
    return machine.emit_object(whole)


def _assembly(name: str, function: Any, arguments: tuple[types.Type, ...]) -> str:
    """The LLVM code of a function, and one of that name that calls it as C would."""
    function.compile(arguments)
    compiled = function.overloads[arguments]
    mangled = compiled.fndesc.llvm_func_name
    made = str(compiled.library._final_module)
    result = compiled.signature.return_type
    of_kind = {types.int64: ir.IntType(64), types.float64: ir.DoubleType()}
    kinds = [of_kind.get(kind, ir.IntType(64)) for kind in arguments]
    module = ir.Module()
    outer = ir.Function(module, ir.FunctionType(of_kind.get(result, ir.VoidType()), kinds), name)
    builder = ir.IRBuilder(outer.append_basic_block())
    to = builder.alloca(of_kind.get(result, ir.IntType(8).as_pointer()))
    given = [to, builder.alloca(ir.IntType(8).as_pointer())]  # and where an exception would go
    for kind, value in zip(arguments, outer.args, strict=True):
        given += [value] if kind in of_kind else load_leaves(builder, kind, value)
    inner = ir.Function(module, ir.FunctionType(ir.IntType(32), [value.type for value in given]), mangled)
    builder.call(inner, given)
    if result in of_kind:
        builder.ret(builder.load(to))
    else:
        builder.ret_void()
    linked = llvm.parse_assembly(made)
    linked.link_in(llvm.parse_assembly(str(module)))
    return str(linked)


def _retargeted(assembly: str, triple: str, machine: Any) -> str:
    """LLVM code for another machine, which runs all the same: it says nothing of one but where it says so."""
    assembly = re.sub(r'target triple = ".*"', f'target triple = "{triple}"', assembly)
    assembly = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', assembly)
    assembly = re.sub(r'"target-(cpu|features)"="[^"]*"', "", assembly)
    assembly = re.sub(r"= common (local_unnamed_addr )?global", "= internal global", assembly)  # WebAssembly has none
    if triple.startswith("wasm32"):
        # With relaxed SIMD LLVM would fuse products and sums, which rounds as the browser likes. What else it takes of
        # it, minima and maxima, is the same everywhere but for the sign of a zero, as no number here is a NaN.
        assembly = assembly.replace(" contract ", " ")
        assembly = _replaced(assembly, DOT_GROUPS, "dot_groups", RELAXED_DOT_GROUPS)
        return assembly.replace(f"@{DOT_PAIRS}(", "@llvm.wasm.dot(")
    if triple.startswith("aarch64"):
        return _replaced(assembly, DOT_PAIRS, "dot_pairs", PORTABLE_DOT_PAIRS)
    return assembly


def _replaced(assembly: str, intrinsic: str, name: str, definition: str) -> str:
    """LLVM code with a function of its own in place of an intrinsic, where it calls that."""
    if f"@{intrinsic}(" not in assembly:
        return assembly
    declared = re.compile(rf"^declare .*@{re.escape(intrinsic)}\(.*$", re.MULTILINE)
    return declared.sub("", assembly).replace(f"@{intrinsic}(", f"@{name}(") + definition


def compiled_for(target: str, functions: str) -> bytes:
    """An object file for one of `TARGETS`, of functions, a dictionary as `object_file` takes it, named "module:name".

    Raises: InputError if it cannot be compiled.
    """
    environment = {**os.environ, **NO_SURPRISES, **TARGETS[target].environment}
    done = subprocess.run([sys.executable, "-m", __name__, target, functions], env=environment, capture_output=True)
    if done.returncode:
        reasons = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"cannot compile for {target}: {reasons[-1] if reasons else 'no reason given'}")
    return done.stdout


if __name__ == "__main__":
    out, sys.stdout = sys.stdout.buffer, sys.stderr  # what numba may be told to print is not the object
    out.write(object_file(find(sys.argv[2]), TARGETS[sys.argv[1]]))
