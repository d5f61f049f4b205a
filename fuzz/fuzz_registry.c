// SPDX-License-Identifier: Apache-2.0
// What registries, other programs and users write: references, headers and challenges, credential
// files, the manifest of a docker archive.
#include "wire/auth_file.h"
#include "wire/docker_archive.h"
#include "wire/http_head.h"
#include "wire/oci.h"
#include "wire/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_reference(const char *text)
{
	struct reference r, again;
	(void)reference_host_ok(text);
	(void)reference_host_loopback(text);
	if (reference_parse(&r, text, NULL) < 0)
		return;
	char *printed = reference_print(&r);
	/* A name that is complete is itself. */
	if (reference_parse(&again, printed, NULL) < 0)
		__builtin_trap();
	char *twice = reference_print(&again);
	if (strcmp(printed, twice) || !again.host != !r.host)
		__builtin_trap();
	free(printed);
	free(twice);
	reference_done(&r);
	reference_done(&again);
}

static void check_head(const char *text, size_t len)
{
	static const char *const names[] = {"WWW-Authenticate", "Location", "Range", ""};
	size_t body;
	(void)http_head_body(text, len, &body);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		for (size_t n = 0; n < 3; n++)
			free(http_head_get(text, len, names[i], n));
}

static void check_auth(const char *text, size_t len)
{
	struct auth_file f, again;
	if (auth_file_parse(&f, text, len, NULL) < 0)
		return;
	(void)auth_file_find(&f, "a:1", "b/c");
	char *printed = auth_file_print(&f);
	size_t n = f.entries.len;
	auth_file_done(&f);
	if (auth_file_parse(&again, printed, strlen(printed), NULL) < 0 || again.entries.len > n)
		__builtin_trap();
	auth_file_done(&again);
	free(printed);
}

static void check_archive(const char *text, size_t len)
{
	struct docker_archive a;
	if (docker_archive_parse(&a, text, len, NULL) < 0)
		return;
	char *printed = docker_archive_print(&a);
	docker_archive_done(&a);
	if (docker_archive_parse(&a, printed, strlen(printed), NULL) < 0)
		__builtin_trap();
	docker_archive_done(&a);
	free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct http_challenge c;
	struct strbuf out = STRBUF_INIT;
	enum oci_document kind;
	char *type = NULL, *text = malloc(len + 1);
	if (!text)
		return 0;
	if (len)
		memcpy(text, data, len);
	text[len] = '\0';
	check_reference(text);
	check_head((const char *)data, len);
	check_auth(text, len);
	check_archive(text, len);
	if (http_challenge_parse(&c, text))
		http_challenge_done(&c);
	if (http_base64_decode(text, &out) == 0) {
		struct strbuf coded = STRBUF_INIT;
		http_add_base64(&coded, out.data, out.len);
		strbuf_done(&coded);
	}
	if (oci_document_kind(text, len, OCI_TYPE_INDEX, &kind, &type, NULL) == 0)
		free(type);
	strbuf_done(&out);
	free(text);
	return 0;
}
