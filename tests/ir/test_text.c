// SPDX-License-Identifier: Apache-2.0
// Runs every tests/ir/*.ir. A file's first line names what to do with the function that follows;
// after a line "# expect" stands what must come out:
//     # print       the text read and written again
//     # verify      "ok", or the verifier's or parser's message
//     # NAME        a pass, or `all`
#include <dirent.h>
#include <stdlib.h>

#include "interp/toy.h"
#include "tap.h"

static const char *path;

static char *read_file(const char *name)
{
	FILE *f = fopen(name, "re");
	if (!f)
		return NULL;
	static char text[1 << 16];
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	return text;
}

static void apply(const char *what, struct ir_func *f, struct strbuf *out)
{
	struct error err _error_ = ERROR_INIT;
	bool all = !strcmp(what, "all");
	if (ir_verify(f, &err) < 0) {
		strbuf_addf(out, "%s\n", err.message);
		return;
	}
	if (!strcmp(what, "verify")) {
		strbuf_adds(out, "ok\n");
		return;
	}
	for (const struct ir_pass *p = ir_passes; p->name; p++) {
		if (!all && strcmp(what, p->name))
			continue;
		p->fn(f);
		if (ir_verify(f, &err) < 0)
			strbuf_addf(out, "after %s: %s\n", p->name, err.message);
	}
	ir_print(f, out);
}

static void check_file(void)
{
	struct error err _error_ = ERROR_INIT;
	struct arena arena = ARENA_INIT;
	struct strbuf out _strbuf_ = STRBUF_INIT;
	struct ir_func f;
	char what[16] = "";
	char *text = read_file(path), *expect = text ? strstr(text, "# expect\n") : NULL;
	REQUIRE(expect);
	*expect = 0;
	expect += strlen("# expect\n");
	CHECK_EQ(sscanf(text, "# %15s", what), 1);
	ir_func_init(&f, &toy_target, &arena, 0);
	if (ir_parse(&f, text, &err) < 0)
		strbuf_addf(&out, "%s\n", err.message);
	else
		apply(what, &f, &out);
	CHECK_STR(out.data, expect);
	arena_done(&arena);
}

static int is_ir(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');
	return dot && !strcmp(dot, ".ir");
}

int main(void)
{
	struct dirent **list;
	int n = scandir(IR_DIR, &list, is_ir, alphasort);
	if (n <= 0) {
		printf("Bail out! no files in %s\n", IR_DIR);
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char *full = xasprintf("%s/%s", IR_DIR, list[i]->d_name);
		path = full;
		tap_run(list[i]->d_name, check_file);
		free(full);
		free(list[i]);
	}
	free(list);
	return tap_done();
}
