// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include "base/vec.h"

struct table {
	const struct column *columns;
	size_t n;
	VEC(char *) cells; /* rows one after the other */
	json_t *array;
};

struct table *table_new(const struct column *columns, size_t n)
{
	struct table *t = xcalloc(1, sizeof(*t));
	t->columns = columns;
	t->n = n;
	t->array = json_array();
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	vec_for_each (cell, &t->cells)
		free(*cell);
	vec_done(&t->cells);
	json_decref(t->array);
	free(t);
}

/* JSON is UTF-8; a name that is not must not lose its row. */
static json_t *text_value(const char *s)
{
	json_t *v = json_string(s);
	return v ? v : json_string("(not UTF-8)");
}

void table_row(struct table *t, const char *const *texts, json_t *const *values)
{
	json_t *object = json_object();
	for (size_t i = 0; i < t->n; i++) {
		json_t *value = values ? values[i] : NULL;
		vec_push(&t->cells, xstrdup(texts[i] ? texts[i] : ""));
		if (!t->columns[i].key)
			json_decref(value);
		else
			json_object_set_new(object, t->columns[i].key,
				value ? value : text_value(texts[i] ? texts[i] : ""));
	}
	json_array_append_new(t->array, object);
}

/* Columns of a terminal: one per code point is near enough for what we print. */
static int width(const char *s)
{
	int n = 0;
	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void print_row(const struct table *t, const char *const *cells, const int *widths, FILE *out)
{
	int owed = 0; /* blanks, printed only when something follows */
	for (size_t i = 0; i < t->n; i++) {
		if (!t->columns[i].title)
			continue;
		int pad = widths[i] - width(cells[i]);
		fprintf(out, "%*s%s", owed + (t->columns[i].right ? pad : 0), "", cells[i]);
		owed = (t->columns[i].right ? 0 : pad) + 2;
	}
	fputc('\n', out);
}

void table_print(const struct table *t, const char *format, FILE *out)
{
	if (format && !strcmp(format, "json")) {
		json_dumpf(t->array, out, JSON_INDENT(2));
		fputc('\n', out);
		return;
	}
	int *widths _free_ = xcalloc(t->n, sizeof(*widths));
	const char **titles _free_ = xcalloc(t->n, sizeof(*titles));
	for (size_t i = 0; i < t->n; i++) {
		titles[i] = t->columns[i].title ? t->columns[i].title : "";
		widths[i] = width(titles[i]);
	}
	for (size_t i = 0; i < t->cells.len; i++)
		widths[i % t->n] = MAX(widths[i % t->n], width(t->cells.items[i]));
	print_row(t, titles, widths, out);
	for (size_t i = 0; i < t->cells.len; i += t->n)
		print_row(t, (const char *const *)t->cells.items + i, widths, out);
}
