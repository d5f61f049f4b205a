// SPDX-License-Identifier: Apache-2.0
// Any text as a published port: what parses is written in full and parses to the same again. The
// same bytes as a resolv.conf.
#include "net/publish.h"
#include "net/resolv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slirp_publish p, again;
	struct error err = ERROR_INIT;
	char full[SLIRP_PUBLISH_TEXT_MAX], twice[SLIRP_PUBLISH_TEXT_MAX];
	char *text = xmalloc(size + 1);
	memcpy(text, data, size);
	text[size] = 0;
	if (slirp_publish_parse(text, &p, &err) == 0) {
		slirp_publish_format(&p, full);
		if (!p.host_port || !p.guest_port || slirp_publish_parse(full, &again, NULL))
			abort();
		slirp_publish_format(&again, twice);
		if (strcmp(full, twice) != 0)
			abort();
	} else if (!err.message || !err.remedy) {
		abort();
	}
	struct in_addr server;
	resolv_conf_server(text, size, &server);
	error_done(&err);
	free(text);
	return 0;
}
