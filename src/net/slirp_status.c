// SPDX-License-Identifier: Apache-2.0
#include "net/slirp_status.h"

#include <stdio.h>
#include <unistd.h>

int slirp_status_parse(char *text, struct error *err)
{
	if (!strcmp(text, "ready"))
		return 0;
	char *rest;
	unsigned long code = strtoul(text, &rest, 10);
	if (rest == text || *rest != ' ' || code == 0 || code > 4095)
		return error_set(err, ECHILD, "strata-slirp ended while it started");
	char *message = rest + 1, *remedy = strchr(message, '\n');
	if (remedy)
		*remedy++ = 0;
	error_set(err, (int)code, "%s", message);
	if (remedy && *remedy)
		error_remedy(err, "%s", remedy);
	return -(int)code;
}

void slirp_status_send(int fd, const struct error *err)
{
	char text[SLIRP_STATUS_MAX];
	int n = snprintf(text, sizeof(text), "ready");
	if (err)
		n = snprintf(text, sizeof(text), "%d %s\n%s", err->code, err->message,
			err->remedy ? err->remedy : "");
	ssize_t w = write(fd, text, MIN((size_t)n, sizeof(text) - 1));
	(void)w; /* nobody waits for it any more: the frame socket tells the same */
}
