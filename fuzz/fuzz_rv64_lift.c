// SPDX-License-Identifier: Apache-2.0
// Guest code: any bytes in any mode must lift to IR that the verifier takes, before and after the
// passes, and disassemble. And a saved hart: any stream must restore to a hart that can be saved.
// Input: one byte of mode, one that says which, then code or stream.
#include "isa/rv64/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void lift(struct rv64_cpu *c, const uint8_t *code, size_t bytes)
{
	struct arena arena = ARENA_INIT;
	struct error err = ERROR_INIT;
	struct strbuf text = STRBUF_INIT;
	struct ir_func f;
	size_t here = bytes - bytes / 4;
	ir_func_init(&f, &rv64_isa.target, &arena, 0x1000);
	int r = rv64_isa.lift(
		&f, rv64_isa.translation_flags(c), code, here, code + here, bytes - here, 64);
	if (r && r != -EAGAIN)
		abort();
	if (!r && (ir_verify(&f, &err) || ir_optimise(&f, true, NULL, NULL, &err)))
		abort();
	for (size_t at = 0; at < bytes;) {
		unsigned n = rv64_isa.disassemble(code + at, bytes - at, at, &text);
		if (!n)
			break;
		at += n;
	}
	strbuf_done(&text);
	error_done(&err);
	arena_done(&arena);
}

static void restore(struct rv64_cpu *c, const uint8_t *bytes, size_t count)
{
	struct strbuf out = STRBUF_INIT;
	struct state *s = state_new_restore(bytes, count);
	rv64_isa.state(c, s);
	state_finish(s, NULL);
	state_free(s);
	rv64_isa.print(c, &out);
	s = state_new_save(&out);
	rv64_isa.state(c, s);
	if (state_finish(s, NULL) || c->priv > RV64_SUPERVISOR || c->fs > 3)
		abort();
	state_free(s);
	strbuf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 4)
		return 0;
	struct rv64_cpu *c = xcalloc(1, sizeof(*c));
	rv64_isa.init(c, 0);
	c->priv = data[0] & 1;
	c->fs = data[0] >> 1 & 3;
	c->frm = data[0] >> 3 & 7;
	c->senvcfg = data[0] >> 6 & 1 ? SENVCFG_CBCFE | SENVCFG_CBIE | SENVCFG_CBZE : 0;
	if (data[1] & 1)
		restore(c, data + 2, size - 2);
	else
		lift(c, data + 2, size - 2);
	rv64_isa.done(c);
	free(c);
	return 0;
}
