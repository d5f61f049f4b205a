// SPDX-License-Identifier: Apache-2.0
#include "os/paths.h"

#include <pwd.h>
#include <unistd.h>

static char *trim(char *path)
{
	for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
		path[n - 1] = 0;
	return path;
}

int paths_home(char **out, struct error *err)
{
	const char *home = getenv("STRATA_HOME"), *xdg = getenv("XDG_DATA_HOME");
	const char *user = getenv("HOME");
	if (home && *home) {
		if (*home != '/') {
			error_set(err, EINVAL, "STRATA_HOME=%s is not an absolute path", home);
			error_remedy(err, "set STRATA_HOME=\"$PWD/%s\"", home);
			return -EINVAL;
		}
		*out = trim(xstrdup(home));
		return 0;
	}
	if (xdg && *xdg == '/') {
		*out = xasprintf("%s/strata", xdg);
		return 0;
	}
	if (!user || *user != '/') {
		struct passwd *pw = getpwuid(getuid());
		user = pw ? pw->pw_dir : NULL;
	}
	if (!user || *user != '/') {
		error_set(err, ENOENT, "no home directory to keep images and instances in");
		error_remedy(err, "set STRATA_HOME to an absolute path");
		return -ENOENT;
	}
	*out = xasprintf("%s/.local/share/strata", user);
	return 0;
}
