#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the decoder and disassembler with GNU objdump.

Usage: decode_oracle.py PRINT_WORDS TABLE NEIGHBOURS RANDOM

Words: each 16-bit encoding; for each row of the table random operands and NEIGHBOURS words with a
few fixed bits flipped (where a mask that is too narrow or too wide shows); RANDOM words with random
bits under each major opcode. Text must be equal, but for the two lists below.
"""
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../tools"))
import gen_decoder  # noqa: E402

SEED = 20240411
OBJDUMP = "riscv64-linux-gnu-objdump"
AS = "riscv64-linux-gnu-as"
OBJCOPY = "riscv64-linux-gnu-objcopy"
MARCH = "rv64gc_zicbom_zicboz_zicsr_zifencei_zihintpause_zawrs_zba_zbb_zbc_zbs"

# Differences with a reason: mnemonic -> (why, test of the word). Anything else fails.
OBJDUMP_ONLY = {
    "mret": ("there is no machine mode (privileged specification 1.2)", lambda w: True),
    "mnret": ("there is no machine mode", lambda w: True),
    "dret": ("there is no debug mode", lambda w: True),
    "uret": ("user-level interrupts (N) were withdrawn", lambda w: True),
    "hret": ("hypervisor draft of the privileged specification 1.9", lambda w: True),
    "sfence.vm": ("privileged specification 1.9, before sfence.vma", lambda w: True),
    "c.unimp": ("the all-zero illegal instruction (26.5.7)", lambda w: w & 0xffff == 0),
    "c.addi16sp": ("reserved with an immediate of 0 (26.5.2)", lambda w: w & 0x107c == 0),
}
IGNORED = ("reserved fields of fences, and unknown fm, are to be ignored (2.7, 5.1)", lambda w: w & 0xf00f8f80 != 0)
EXACT = ("exact conversions ignore their rounding mode, objdump wants 0 (22.5)", lambda w: w & 0x7000 != 0)
OURS_ONLY = {
    "fence": IGNORED, "fence.tso": IGNORED,
    "fence.i": (IGNORED[0], lambda w: w & 0xffff8f80 != 0),
    "fcvt.d.s": EXACT, "fcvt.d.w": EXACT, "fcvt.d.wu": EXACT,
    "czero.eqz": ("Zicond: binutils 2.40 does not know it", lambda w: True),
    "czero.nez": ("Zicond: binutils 2.40 does not know it", lambda w: True),
}


def row_words(rows, neighbours, rng):
    for row in rows:
        if row.width != 32:
            continue
        for _ in range(neighbours):
            yield (rng.getrandbits(32) & ~row.mask) | row.match
            word = (rng.getrandbits(32) & ~row.mask) | row.match
            for _ in range(rng.choice((1, 1, 1, 2, 3))):
                word ^= 1 << rng.randrange(2, 32)
            yield word
        # Operand bits at their limits.
        for operands in (0, 0xffffffff):
            yield (operands & ~row.mask) | row.match


def words(rows, neighbours, count, rng):
    out = [w for w in range(1 << 16) if w & 3 != 3]
    out += row_words(rows, neighbours, rng)
    majors = sorted({row.match & 0x7f for row in rows if row.width == 32})
    # Reserved major opcodes, and the prefixes of longer instructions, get their share.
    for n in range(count):
        major = majors[n % len(majors)] if n % 8 else rng.getrandbits(5) << 2 | 3
        out.append(rng.getrandbits(25) << 7 | major)
    # Prefixes of longer instructions: objdump would take the words behind them too.
    return [w for w in out if w & 0x1f != 0x1f]


def objdump_lines(blob, directory):
    """(mnemonic, operands) of each word; None where objdump sees no instruction."""
    source, obj, raw = (os.path.join(directory, n) for n in ("t.s", "t.o", "t.bin"))
    open(source, "w").write(".text\nnop\n")
    open(raw, "wb").write(blob)
    subprocess.run([AS, "-march=" + MARCH, "-o", obj, source], check=True)
    subprocess.run([OBJCOPY, "--update-section", ".text=" + raw, obj], check=True)
    p = subprocess.Popen([OBJDUMP, "-d", "-z", "-M", "no-aliases", obj], stdout=subprocess.PIPE, text=True)
    for line in p.stdout:
        parts = line.rstrip("\n").split("\t")
        if len(parts) < 3 or not parts[0].endswith(":"):
            continue
        yield int(parts[0][:-1], 16), parts[1].strip(), parts[2], parts[3] if len(parts) > 3 else ""
    if p.wait():
        sys.exit("objdump failed")


def normal(mnemonic, operands):
    """One spelling for what objdump and we write differently on purpose."""
    operands = operands.split(" <")[0].split(" #")[0].strip()
    if mnemonic in JUMPS:
        head, comma, target = operands.rpartition(",")
        operands = f"{head}{comma}{int(target, 16) & 0xffffffffffffffff:x}"
    if mnemonic in ("c.srli64", "c.srai64", "c.slli64"):
        return mnemonic[:-2], operands + ",0x0"  # shift by 0: a HINT on RV64
    if mnemonic in CSRS:
        parts = operands.split(",")
        parts[1] = ""  # objdump names CSRs of all specifications
        operands = ",".join(parts)
    return mnemonic, operands


JUMPS = {"beq", "bne", "blt", "bge", "bltu", "bgeu", "jal", "c.j", "c.beqz", "c.bnez"}
CSRS = {"csrrw", "csrrs", "csrrc", "csrrwi", "csrrsi", "csrrci"}


def main():
    program, table, neighbours, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    missing = [tool for tool in (OBJDUMP, AS, OBJCOPY) if not shutil.which(tool)]
    if missing:
        print(f"ok 1 - decoder # SKIP {missing[0]} is not installed\n1..1")
        return 0
    rows, rng = gen_decoder.read_table(table), random.Random(SEED)
    # Each word has 4 bytes; what follows a 16-bit instruction is c.nop, skipped on both sides.
    values = words(rows, neighbours, count, rng)
    blob = b"".join(struct.pack("<I", w if w & 3 == 3 else 0x00010000 | w & 0xffff) for w in values)
    ours = subprocess.run([program], input=blob, stdout=subprocess.PIPE, check=True).stdout.decode().splitlines()
    failures, compared, explained, legal = [], 0, {}, 0
    longer = b"".join(struct.pack("<I", rng.getrandbits(27) << 5 | 0x1f) for _ in range(10000))
    for text in subprocess.run([program], input=longer, stdout=subprocess.PIPE, check=True).stdout.decode().split("\n"):
        if text and not text.startswith(".4byte"):
            failures.append(("prefix of a longer instruction", text))
            print("# prefix of a longer instruction:", text)
    with tempfile.TemporaryDirectory() as directory:
        for address, _, mnemonic, operands in objdump_lines(blob, directory):
            if address % 4:
                continue
            our_mnemonic, _, our_operands = ours[address // 4].partition("\t")
            compared += 1
            they_illegal = mnemonic.startswith((".2byte", ".4byte", ".byte", ".8byte", ".insn", ".short", ".word"))
            we_illegal = our_mnemonic.startswith(".")
            if we_illegal and they_illegal:
                continue
            legal += 1
            if mnemonic == our_mnemonic and operands == our_operands:
                continue
            if normal(mnemonic, operands) == normal(our_mnemonic, our_operands):
                continue
            word = values[address // 4]
            side, name = (OBJDUMP_ONLY, mnemonic) if we_illegal else (OURS_ONLY, our_mnemonic)
            if we_illegal != they_illegal and name in side and side[name][1](word):
                explained[name] = side[name][0]
                continue
            failures.append((mnemonic, our_mnemonic))
            if failures.count(failures[-1]) <= 3:
                print(f"# {word:08x}: objdump '{mnemonic} {operands}', "
                      f"ours '{our_mnemonic} {our_operands}'")
            if len(failures) > 5000:
                break
    print(f"# {compared} words, {legal} legal, {len(failures)} differences, seed {SEED}")
    for name, why in sorted(explained.items()):
        print(f"# expected: {name}: {why}")
    ok = not failures and compared == len(values)
    print(f"{'ok' if ok else 'not ok'} 1 - decoder and disassembler agree with objdump\n1..1")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
