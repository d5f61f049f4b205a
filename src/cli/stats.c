// SPDX-License-Identifier: Apache-2.0
#include "cli/stats.h"

#include "base/base.h"
#include "cli/output.h"

enum { SHOWN_CPUS = 8 };

static json_int_t number(const json_t *cpu, const char *name)
{
	return json_integer_value(json_object_get(cpu, name));
}

static json_t *total_of(const json_t *cpus)
{
	json_t *total = json_object(), *value;
	const char *name;
	json_object_foreach(json_array_get(cpus, 0), name, value)
	{
		json_int_t sum = 0;
		for (size_t n = 0; n < json_array_size(cpus); n++)
			sum += number(json_array_get(cpus, n), name);
		json_object_set_new(total, name, json_integer(sum));
	}
	return total;
}

/* "12,345,678" */
static char *grouped(json_int_t v)
{
	char *plain _free_ = xasprintf("%lld", (long long)v);
	size_t digits = strlen(plain);
	char *text = xmalloc(digits + digits / 3 + 1), *to = text;
	for (size_t i = 0; i < digits; i++) {
		*to++ = plain[i];
		if ((digits - i) % 3 == 1 && i + 1 < digits)
			*to++ = ',';
	}
	*to = 0;
	return text;
}

static void add_row(
	struct table *t, const char *name, const json_t *cpus, size_t shown, const json_t *total)
{
	char *cells[SHOWN_CPUS + 2];
	cells[0] = xstrdup(name);
	for (char *c = cells[0]; *c; c++)
		*c = *c == '_' ? ' ' : *c;
	for (size_t n = 0; n < shown; n++)
		cells[n + 1] = grouped(number(json_array_get(cpus, n), name));
	cells[shown + 1] = grouped(number(total, name));
	table_row(t, (const char *const *)cells, NULL);
	for (size_t n = 0; n < shown + 2; n++)
		free(cells[n]);
}

static void print_table(const json_t *cpus, json_t *total, FILE *out)
{
	size_t count = json_array_size(cpus);
	size_t shown = count == 1 || count > SHOWN_CPUS ? 0 : count;
	struct column columns[SHOWN_CPUS + 2] = {{"COUNTER", NULL, false}};
	char titles[SHOWN_CPUS][8];
	for (size_t n = 0; n < shown; n++) {
		snprintf(titles[n], sizeof(titles[n]), "CPU %zu", n);
		columns[n + 1] = (struct column){titles[n], NULL, true};
	}
	columns[shown + 1] = (struct column){"TOTAL", NULL, true};
	struct table *t = table_new(columns, shown + 2);
	json_t *value;
	const char *name;
	json_object_foreach(total, name, value) add_row(t, name, cpus, shown, total);
	table_print(t, "table", out);
	table_free(t);
}

void stats_print(const json_t *cpus, const char *format, FILE *out)
{
	json_t *total = total_of(cpus);
	if (!strcmp(format, "json")) {
		json_t *all = json_pack("{s:O?, s:O}", "cpus", cpus, "total", total);
		json_dumpf(all, out, JSON_INDENT(2));
		fputc('\n', out);
		json_decref(all);
	} else if (json_array_size(cpus)) {
		print_table(cpus, total, out);
	} else {
		fputs("The machine did not tell what its CPUs have done.\n", out);
	}
	json_decref(total);
}
