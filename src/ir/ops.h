// SPDX-License-Identifier: Apache-2.0
// The table of IR ops: IR_OP(id, name, number of value arguments, signature, enum ir_op_flag bits).
// Read by the verifier, the printer, the passes, the interpreter and the emitters. T is the
// instruction's type.
//
// A signature is "result:arguments", one letter each: v none, I any integer, W I32 or I64, L I64,
// F F32 or F64, X any type; in arguments also T the result's type, = the argument's before it.

// clang-format off

/* constants, state, bookkeeping */
IR_OP(NOP, "nop", 0, "v:", IR_PURE)
IR_OP(CONST, "const", 0, "X:", IR_PURE)           /* imm, cut to T (floats: the bits) */
IR_OP(GET, "get", 0, "X:", IR_READ | IR_SLOT)     /* T is the slot's type */
IR_OP(PUT, "put", 1, "v:X", IR_WRITE | IR_SLOT)
IR_OP(INSN, "insn", 0, "v:", IR_WRITE)            /* guest instruction at imm, aux bytes long, begins */

/* integers; shift counts are of type T too and taken modulo the width */
IR_OP(ADD, "add", 2, "I:TT", IR_PURE)
IR_OP(SUB, "sub", 2, "I:TT", IR_PURE)
IR_OP(MUL, "mul", 2, "I:TT", IR_PURE)
IR_OP(MULHU, "mulhu", 2, "W:TT", IR_PURE)           /* high half of the double-width product; I32, I64 */
IR_OP(MULHS, "mulhs", 2, "W:TT", IR_PURE)
IR_OP(MULHSU, "mulhsu", 2, "W:TT", IR_PURE)         /* a signed, b unsigned */
IR_OP(DIVU, "divu", 2, "W:TT", IR_PURE)             /* total: x / 0 is all ones, x % 0 is x */
IR_OP(DIVS, "divs", 2, "W:TT", IR_PURE)             /* and MIN / -1 is MIN, MIN % -1 is 0; I32, I64 */
IR_OP(REMU, "remu", 2, "W:TT", IR_PURE)
IR_OP(REMS, "rems", 2, "W:TT", IR_PURE)
IR_OP(AND, "and", 2, "I:TT", IR_PURE)
IR_OP(OR, "or", 2, "I:TT", IR_PURE)
IR_OP(XOR, "xor", 2, "I:TT", IR_PURE)
IR_OP(ANDN, "andn", 2, "I:TT", IR_PURE)             /* a & ~b */
IR_OP(SHL, "shl", 2, "I:TT", IR_PURE)
IR_OP(SHR, "shr", 2, "I:TT", IR_PURE)
IR_OP(SAR, "sar", 2, "I:TT", IR_PURE)
IR_OP(ROTL, "rotl", 2, "I:TT", IR_PURE)
IR_OP(ROTR, "rotr", 2, "I:TT", IR_PURE)
IR_OP(NOT, "not", 1, "I:T", IR_PURE)
IR_OP(NEG, "neg", 1, "I:T", IR_PURE)
IR_OP(CLZ, "clz", 1, "W:T", IR_PURE)               /* of 0: the width; I32, I64 */
IR_OP(CTZ, "ctz", 1, "W:T", IR_PURE)
IR_OP(POPCNT, "popcnt", 1, "W:T", IR_PURE)
IR_OP(BSWAP, "bswap", 1, "I:T", IR_PURE)           /* I16, I32, I64 */
IR_OP(ORCB, "orcb", 1, "L:L", IR_PURE)             /* each non-zero byte becomes 0xff; I64 */

/* conversions between integer widths, from a's type to T */
IR_OP(ZEXT, "zext", 1, "I:I", IR_PURE)
IR_OP(SEXT, "sext", 1, "I:I", IR_PURE)
IR_OP(TRUNC, "trunc", 1, "I:I", IR_PURE)

/* comparisons: a and b of one integer type, result I64, 0 or 1 */
IR_OP(EQ, "eq", 2, "L:I=", IR_PURE)
IR_OP(NE, "ne", 2, "L:I=", IR_PURE)
IR_OP(LTS, "lts", 2, "L:I=", IR_PURE)
IR_OP(LTU, "ltu", 2, "L:I=", IR_PURE)
IR_OP(GES, "ges", 2, "L:I=", IR_PURE)
IR_OP(GEU, "geu", 2, "L:I=", IR_PURE)
IR_OP(SELECT, "select", 3, "X:ITT", IR_PURE)         /* a (integer) non-zero ? b : c; b, c of type T */

/* guest memory; the address is I64 */
IR_OP(LOAD, "load", 1, "X:L", IR_FAULT | IR_READ)
IR_OP(STORE, "store", 2, "v:LX", IR_FAULT | IR_WRITE)            /* a address, b value */
IR_OP(RMW, "rmw", 2, "W:LT", IR_FAULT | IR_READ | IR_WRITE)      /* aux ir_rmw; atomic, sequentially consistent;
                                                            I32, I64; yields the old value */
IR_OP(CMPXCHG, "cmpxchg", 3, "W:LTT", IR_FAULT | IR_READ | IR_WRITE) /* a address, b expected, c new; old value */
IR_OP(LOADR, "loadr", 1, "W:L", IR_FAULT | IR_READ | IR_WRITE)  /* load-reserved; aux as LOAD */
IR_OP(STOREC, "storec", 2, "L:LW", IR_FAULT | IR_READ | IR_WRITE) /* store-conditional: I64 0 done, 1 not; the
                                                            reservation is gone either way */
IR_OP(FENCE, "fence", 0, "v:", IR_WRITE)                       /* aux ir_fence */
IR_OP(PAUSE, "pause", 0, "v:", IR_WRITE)                       /* spin-loop hint */

/* floating point on T = F32, F64 (IEEE 754); IR_FP ops honour aux */
IR_OP(FADD, "fadd", 2, "F:TT", IR_FP)
IR_OP(FSUB, "fsub", 2, "F:TT", IR_FP)
IR_OP(FMUL, "fmul", 2, "F:TT", IR_FP)
IR_OP(FDIV, "fdiv", 2, "F:TT", IR_FP)
IR_OP(FSQRT, "fsqrt", 1, "F:T", IR_FP)
IR_OP(FMADD, "fmadd", 3, "F:TTT", IR_FP)             /* a * b + c, rounded once; inf * 0 is invalid for any c */
IR_OP(FMSUB, "fmsub", 3, "F:TTT", IR_FP)             /* a * b - c */
IR_OP(FNMADD, "fnmadd", 3, "F:TTT", IR_FP)           /* -(a * b) - c */
IR_OP(FNMSUB, "fnmsub", 3, "F:TTT", IR_FP)           /* -(a * b) + c */
IR_OP(FMIN, "fmin", 2, "F:TT", IR_FP)               /* IEEE 754-2019 minimumNumber; -0 < +0 */
IR_OP(FMAX, "fmax", 2, "F:TT", IR_FP)
IR_OP(FEQ, "feq", 2, "L:F=", IR_FP)                 /* result I64, 0 or 1 */
IR_OP(FLT, "flt", 2, "L:F=", IR_FP)
IR_OP(FLE, "fle", 2, "L:F=", IR_FP)
IR_OP(F2F, "f2f", 1, "F:F", IR_FP)                 /* between F32 and F64 */
IR_OP(F2I, "f2i", 1, "W:F", IR_FP)                 /* to I32 or I64 */
IR_OP(I2F, "i2f", 1, "F:W", IR_FP)                 /* from I32 or I64 */
IR_OP(FCLASS, "fclass", 1, "L:F", IR_PURE)         /* I64, the mask of RISC-V's FCLASS */
IR_OP(FFLAGS, "fflags", 0, "L:", IR_READ)            /* the sticky flags, as FE_* of <fenv.h>, I64 */
IR_OP(FFLAGS_SET, "fflags_set", 1, "v:L", IR_WRITE)  /* other bits are ignored */
IR_OP(BITCAST, "bitcast", 1, "X:X", IR_PURE)       /* same width, integer <-> float */

/* out of line */
IR_OP(CALL, "call", 3, "L:LLL", IR_FAULT | IR_READ | IR_WRITE) /* helper imm; I64; unused arguments IR_NONE */

/* ends of a block */
IR_OP(JUMP, "jump", 0, "v:", IR_TERM)             /* to block imm of this function */
IR_OP(BRANCH, "branch", 1, "v:I", IR_TERM)         /* a non-zero: block imm & 0xffffffff, else imm >> 32 */
IR_OP(GOTO, "goto", 1, "v:L", IR_TERM)             /* leaves to guest address a; aux ir_jump */
IR_OP(GOTO_IF, "goto_if", 3, "v:ILL", IR_TERM)       /* a non-zero: guest address b, else c; both CONST */
IR_OP(EXIT, "exit", 1, "v:L", IR_TERM)             /* leaves to the dispatcher at guest address a */
IR_OP(TRAP, "trap", 1, "v:L", IR_TERM | IR_FAULT)  /* guest exception imm at the current INSN, value a */
// clang-format on
