// SPDX-License-Identifier: Apache-2.0
// strata-slirp: the helper process of user-mode networking. Started by slirp.c with two descriptors
// (slirp_status.h); its arguments are the monitor's, so they are trusted, and each is checked all
// the same.
#include <arpa/inet.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <unistd.h>

#include "net/resolv.h"
#include "net/slirp.h"
#include "net/slirp_loop.h"
#include "net/slirp_sandbox.h"
#include "net/slirp_status.h"
#include "os/sandbox.h"

enum { RESOLV_CONF_MAX = 16384 };

struct options {
	struct slirp_config config;
	struct slirp_publish publish[SLIRP_PUBLISH_MAX];
	pid_t parent; /* 0: a tap device's frames */
	bool tap;
};

static int parse_number(const char *name, const char *text, long max, long *out, struct error *err)
{
	char *end;
	errno = 0;
	long v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < 1 || v > max)
		return error_set(err, EINVAL, "strata-slirp: --%s=%s", name, text);
	*out = v;
	return 0;
}

static int parse_option(struct options *o, const char *name, const char *value, struct error *err)
{
	long v = 0;
	int r = 0;
	if (!strcmp(name, "parent")) {
		r = parse_number(name, value, INT32_MAX, &v, err);
		o->parent = (pid_t)v;
	} else if (!strcmp(name, "tap")) {
		o->tap = true;
	} else if (!strcmp(name, "mtu")) {
		r = parse_number(name, value, SLIRP_MTU_MAX, &v, err);
		o->config.mtu = (unsigned)v;
	} else if (!strcmp(name, "hostname")) {
		o->config.hostname = value;
	} else if (!strcmp(name, "dns")) {
		if (inet_pton(AF_INET, value, &o->config.dns) != 1)
			r = error_set(err, EINVAL, "strata-slirp: --dns=%s", value);
	} else if (!strcmp(name, "publish")) {
		if (o->config.publish_count == SLIRP_PUBLISH_MAX)
			return error_set(
				err, EINVAL, "more than %d published ports", SLIRP_PUBLISH_MAX);
		r = slirp_publish_parse(value, &o->publish[o->config.publish_count], err);
		o->config.publish_count += r == 0;
	} else if (!strcmp(name, "no-host-loopback")) {
		o->config.no_host_loopback = true;
	} else {
		o->config.restricted = true;
	}
	return r;
}

static int parse_options(struct options *o, int argc, char **argv, struct error *err)
{
	static const struct option table[] = {
		{"parent", required_argument, NULL, 'o'},
		{"tap", no_argument, NULL, 'o'},
		{"mtu", required_argument, NULL, 'o'},
		{"hostname", required_argument, NULL, 'o'},
		{"dns", required_argument, NULL, 'o'},
		{"publish", required_argument, NULL, 'o'},
		{"no-host-loopback", no_argument, NULL, 'o'},
		{"restricted", no_argument, NULL, 'o'},
		{0},
	};
	int index, r = 0;
	opterr = 0;
	for (int c; !r && (c = getopt_long(argc, argv, "", table, &index)) != -1;)
		r = c == 'o' ? parse_option(o, table[index].name, optarg, err)
			     : error_set(err, EINVAL, "strata-slirp: unknown argument");
	if (!r && (optind != argc || o->tap == (o->parent > 0) || !o->config.mtu))
		r = error_set(err, EINVAL, "strata-slirp is started by strata, not by hand");
	o->config.publish = o->publish;
	return r;
}

/* The name server behind 10.0.2.3 is the host's as it is now: later no file can be read. */
static void find_name_server(struct slirp_config *c)
{
	char text[RESOLV_CONF_MAX];
	_close_ int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	if (n > 0)
		resolv_conf_server(text, (size_t)n, &c->dns);
}

static int prepare(
	struct options *o, int argc, char **argv, struct slirp_loop **loop, struct error *err)
{
	static const int keep[] = {SLIRP_FRAME_FD, SLIRP_STATUS_FD, SLIRP_LIFE_FD};
	int r = parse_options(o, argc, argv, err);
	if (!r)
		r = sandbox_close_fds(keep, o->tap ? 3 : 2, err);
	if (!r && !o->tap)
		r = sandbox_die_with_parent(o->parent, err);
	if (r)
		return r;
	signal(SIGPIPE, SIG_IGN);
	if (!o->config.dns.s_addr)
		find_name_server(&o->config);
	r = slirp_loop_new(loop, &o->config, SLIRP_FRAME_FD, o->tap ? SLIRP_LIFE_FD : -1, err);
	return r ? r : slirp_sandbox_enter(err);
}

int main(int argc, char **argv)
{
	static struct options options;
	struct slirp_loop *loop;
	struct error err = ERROR_INIT;
	int r = prepare(&options, argc, argv, &loop, &err);
	slirp_status_send(SLIRP_STATUS_FD, r ? &err : NULL);
	close(SLIRP_STATUS_FD);
	if (r)
		_exit(1);
	slirp_loop_run(loop);
	/* At once: exit handlers of libraries may want what the sandbox has taken. */
	_exit(0);
}
