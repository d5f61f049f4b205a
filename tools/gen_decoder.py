#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes an instruction set's decoder from its table (see the head of src/isa/rv64/insns.def).

Usage: gen_decoder.py TABLE PREFIX OUT.c OUT.h

OUT.h: an enum of the rows and prototypes of the lifter bodies. OUT.c: the row table and a decoder,
which is a tree of switches on the bits that all remaining rows fix. Refuses rows that overlap,
operand bits that no field of the format covers, and fields over bits that are not operands.
"""
import re
import sys

FIELDS = ("rd", "rs1", "rs2", "rs3", "rm", "aqrl", "imm")


class Bad(Exception):
    pass


class Field:
    """Where an operand lies in the word: pieces (high, low) or zero bits, from the highest down."""

    def __init__(self, name, text):
        self.name, self.pieces, self.plus, self.const, self.signed = name, [], 0, None, False
        if name not in FIELDS:
            raise Bad(f"no operand is called {name}")
        if text.startswith("#"):
            self.const = int(text[1:])
            return
        if text[:2] in ("s:", "u:"):
            self.signed, text = text[0] == "s", text[2:]
        if "+" in text:
            text, _, plus = text.partition("+")
            self.plus = int(plus)
        for piece in text.split(","):
            if piece.startswith("z"):
                self.pieces.append((None, int(piece[1:])))
            else:
                high, _, low = piece.partition("-")
                self.pieces.append((int(high), int(low or high)))

    def widths(self):
        return [n if high is None else high - n + 1 for high, n in self.pieces]

    def bits(self):
        return {b for high, low in self.pieces if high is not None for b in range(low, high + 1)}

    def value(self, word):
        """For checks at generation time; without sign extension."""
        if self.const is not None:
            return self.const
        value = 0
        for (high, low), width in zip(self.pieces, self.widths()):
            piece = 0 if high is None else (word >> low) & ((1 << width) - 1)
            value = value << width | piece
        return value + self.plus

    def c_expression(self):
        if self.const is not None:
            return str(self.const)
        position, terms = sum(self.widths()), []
        total = position
        for (high, low), width in zip(self.pieces, self.widths()):
            position -= width
            if high is None:
                continue
            term = f"(w >> {low} & 0x{(1 << width) - 1:x}u)" if low else f"(w & 0x{(1 << width) - 1:x}u)"
            terms.append(f"{term} << {position}" if position else term)
        text = " | ".join(terms)
        if self.signed:
            return f"sign_extend({text}, {total})"
        return f"({text}) + {self.plus}" if self.plus else text


class Row:
    def __init__(self, name, pattern, fmt, formats, extension, body, rest):
        self.name, self.extension, self.body = name, extension, body
        self.fmt = fmt
        if fmt not in formats:
            raise Bad(f"no format {fmt}")
        self.fields, self.template = formats[fmt]
        self.width = len(pattern)
        if self.width not in (16, 32):
            raise Bad(f"the pattern has {self.width} bits")
        self.mask = int("".join("1" if c in "01" else "0" for c in pattern), 2)
        self.match = int("".join("1" if c == "1" else "0" for c in pattern), 2)
        if (self.match & 3 == 3) != (self.width == 32):
            raise Bad("the two lowest bits do not say this length")
        operands = {self.width - 1 - i for i, c in enumerate(pattern) if c == "."}
        covered = set().union(*(f.bits() for f in self.fields)) if self.fields else set()
        if operands != covered:
            raise Bad(f"operand bits {sorted(operands)}, but format {fmt} has {sorted(covered)}")
        self.conditions, self.over = [], None
        for word in rest:
            if word.startswith("over="):
                self.over = word[5:]
                continue
            m = re.fullmatch(r"(\w+)!=(\d+)", word)
            field = m and next((f for f in self.fields if f.name == m[1]), None)
            if not field:
                raise Bad(f"cannot read {word}")
            self.conditions.append((field, int(m[2])))

    @property
    def ident(self):
        return self.name.replace(".", "_")

    def matches(self, word):
        return word & self.mask == self.match and all(f.value(word) != n for f, n in self.conditions)


def read_table(path):
    formats, rows = {}, []
    for number, line in enumerate(open(path), 1):
        line = re.sub(r"(^|\s)# .*|^#$", "", line).split()
        if not line:
            continue
        try:
            if line[0] == "format":
                fields = [Field(*w.split("=", 1)) for w in line[2:] if "=" in w]
                text = [w for w in line[2:] if "=" not in w]
                formats[line[1]] = (fields, text[0] if text else "")
                continue
            n = 1
            while n < len(line) and re.fullmatch(r"[01.-]+", line[n]):
                n += 1
            rows.append(Row(line[0], "".join(line[1:n]), line[n], formats, *line[n + 1:n + 3], line[n + 3:]))
        except (Bad, ValueError, TypeError, IndexError) as e:
            raise Bad(f"{path}:{number}: {' '.join(line[:1])}: {e}") from None
    return rows


def check_overlaps(rows):
    names = {}
    for row in rows:
        if row.name in names:
            raise Bad(f"{row.name}: two rows have this name")
        names[row.name] = row
    wide = [r for r in rows if r.width == 32]
    for i, a in enumerate(wide):
        for b in wide[i + 1:]:
            if (a.match ^ b.match) & a.mask & b.mask:
                continue
            special, general = (a, b) if a.over == b.name else (b, a)
            if special.over != general.name:
                raise Bad(f"{a.name} and {b.name} overlap")
            if special.mask & general.mask != general.mask:
                raise Bad(f"{special.name} is no special case of {general.name}")
    narrow = [r for r in rows if r.width == 16]
    for word in range(1 << 16):
        hits = [r.name for r in narrow if r.matches(word)]
        if len(hits) > 1:
            raise Bad(f"{' and '.join(hits)} overlap at 0x{word:04x}")


def runs(mask):
    """The runs of set bits in mask, as (low, width)."""
    out, bit = [], 0
    while mask >> bit:
        if mask >> bit & 1:
            width = 1
            while mask >> (bit + width) & 1:
                width += 1
            out.append((bit, width))
            bit += width
        else:
            bit += 1
    return out


def emit_tree(rows, known, indent, out):
    """Code that finds the row of word w; the bits in `known` have been tested on the way.
    True when control may reach its end."""
    tab = "\t" * indent
    common = ~known
    for row in rows:
        common &= row.mask
    best = None
    for low, width in runs(common & 0xffffffff) if len(rows) > 1 else ():
        values = {row.match >> low & ((1 << width) - 1) for row in rows}
        if len(values) > 1 and (best is None or len(values) > best[0]):
            best = (len(values), low, width)
    if best:
        _, low, width = best
        mask = (1 << width) - 1
        out.append(f"{tab}switch (w >> {low} & 0x{mask:x}) {{")
        groups = {}
        for row in rows:
            groups.setdefault(row.match >> low & mask, []).append(row)
        for value, group in sorted(groups.items()):
            out.append(f"{tab}case 0x{value:x}:")
            if emit_tree(group, known | mask << low, indent + 1, out):
                out.append(f"{tab}\tbreak;")
        out.append(f"{tab}}}")
        return True
    # Special cases first: they fix more bits.
    for row in sorted(rows, key=lambda r: -bin(r.mask).count("1")):
        tests = []
        mask = row.mask & ~known
        if mask:
            tests.append(f"(w & 0x{mask:x}u) == 0x{row.match & mask:x}u")
        for field, number in row.conditions:
            tests.append(f"({field.c_expression()}) != {number}")
        call = f"return TAKE({row.ident.upper()}, {format_ident(row.fmt)});"
        if tests:
            out.append(f"{tab}if ({' && '.join(tests)})")
            out.append(f"{tab}\t{call}")
        else:
            out.append(f"{tab}{call}")
            return False
    return True


def format_ident(name):
    return "operands_" + name.lower().replace(".", "_")


def write_header(rows, prefix, path):
    up, out = prefix.upper(), []
    out.append(f"// Generated from the instruction table by tools/gen_decoder.py.")
    out.append(f"#ifndef STRATA_{up}_INSNS_GEN_H\n#define STRATA_{up}_INSNS_GEN_H\n")
    out.append(f"enum {prefix}_row {{")
    out += [f"\t{up}_{row.ident.upper()}," for row in rows]
    out.append(f"\t{up}_ROW_COUNT\n}};\n")
    for body in sorted({row.body for row in rows}):
        out.append(f"{prefix}_lift_fn {prefix}_lift_{body};")
    out.append("\n#endif")
    open(path, "w").write("\n".join(out) + "\n")


def write_source(rows, prefix, path):
    up, out = prefix.upper(), []
    out.append("// Generated from the instruction table by tools/gen_decoder.py.")
    out.append(f'#include "isa/{prefix}/insn.h"\n')
    out.append(f"const struct {prefix}_row_info {prefix}_rows[{up}_ROW_COUNT] = {{")
    for row in rows:
        out.append(f'\t[{up}_{row.ident.upper()}] = {{"{row.name}", "{row.template}", "{row.extension}", '
                   f"{prefix}_lift_{row.body}, 0x{row.mask:x}, 0x{row.match:x}}},")
    out.append("};\n")
    out.append("static inline int32_t sign_extend(uint32_t v, unsigned bits)\n{")
    out.append("\treturn (int32_t)(v << (32 - bits)) >> (32 - bits);\n}\n")
    for fmt in dict.fromkeys(row.fmt for row in rows):
        fields = next(row.fields for row in rows if row.fmt == fmt)
        out.append(f"static inline void {format_ident(fmt)}(uint32_t w, struct {prefix}_insn *i)\n{{")
        for field in fields:
            cast = "(int32_t)" if field.name == "imm" else "(uint8_t)"
            out.append(f"\ti->{field.name} = {cast}({field.c_expression()});")
        out.append("}\n")
    out.append(f"#define TAKE(ROW, OPERANDS) (OPERANDS(w, i), i->row = {up}_##ROW, true)\n")
    for width, condition in ((16, "(w & 3) != 3"), (32, "(w & 3) == 3")):
        out.append(f"static bool decode{width}(uint32_t w, struct {prefix}_insn *i)\n{{")
        emit_tree([r for r in rows if r.width == width], 3 if width == 32 else 0, 1, out)
        out.append("\treturn false;\n}\n")
    out.append(f"bool {prefix}_decode(uint32_t w, struct {prefix}_insn *i)\n{{")
    out.append(f"\t*i = (struct {prefix}_insn){{.raw = w}};")
    out.append("\tif ((w & 3) == 3) {\n\t\ti->bytes = 4;\n\t\treturn decode32(w, i);\n\t}")
    out.append("\ti->bytes = 2;\n\ti->raw = w &= 0xffff;\n\treturn decode16(w, i);\n}")
    open(path, "w").write("\n".join(out) + "\n")


def main():
    table, prefix, source, header = sys.argv[1:]
    try:
        rows = read_table(table)
        check_overlaps(rows)
    except Bad as e:
        sys.exit(f"gen_decoder: {e}")
    write_header(rows, prefix, header)
    write_source(rows, prefix, source)


if __name__ == "__main__":
    main()
