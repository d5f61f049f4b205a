// SPDX-License-Identifier: Apache-2.0
#include "tap.h"
#include "instance/store.h"
#include "os/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char home[] = "/tmp/strata-store-XXXXXX";
static struct instance_config config = {.image = (char *)(uintptr_t) "debian:trixie",
	.level = (char *)(uintptr_t) "vm",
	.arch = (char *)(uintptr_t) "riscv64",
	.cpus = 2,
	.memory_bytes = 512 * MiB,
	.created_s = 1700000000};

static size_t count(bool *running)
{
	struct instance_info *list = NULL;
	size_t n = 0;
	CHECK_EQ(instance_list(home, &list, &n, NULL), 0);
	if (running)
		*running = n && list[0].running;
	instance_list_free(list, n);
	return n;
}

static void has_no_instances_at_first(void)
{
	CHECK_EQ(count(NULL), (size_t)0);
	instance_sweep(home);
}

static void a_name_is_taken_once(void)
{
	struct instance *i = NULL, *again = NULL;
	struct error err _error_ = ERROR_INIT;
	bool running;
	REQUIRE(instance_create(home, "web", &config, &i, &err) == 0);
	CHECK_EQ(count(&running), (size_t)1);
	CHECK(running);
	CHECK_EQ(instance_create(home, "web", &config, &again, &err), -EEXIST);
	CHECK_CONTAINS(err.message, "running");
	CHECK_EQ(instance_remove(home, "web", &err), -EBUSY);
	instance_free(i);

	CHECK_EQ(count(&running), (size_t)1);
	CHECK(!running);
	CHECK_EQ(instance_create(home, "web", &config, &again, &err), -EEXIST);
	CHECK_CONTAINS(err.remedy, "strata rm web");
	CHECK_EQ(instance_remove(home, "web", &err), 0);
	CHECK_EQ(count(NULL), (size_t)0);
	CHECK_EQ(instance_remove(home, "web", &err), -ENOENT);
}

static void config_comes_back(void)
{
	struct instance *i = NULL;
	REQUIRE(instance_create(home, "one", &config, &i, NULL) == 0);
	instance_free(i);
	struct instance_info *list = NULL;
	size_t n = 0;
	CHECK_EQ(instance_list(home, &list, &n, NULL), 0);
	REQUIRE(n == 1);
	CHECK_STR(list[0].config.image, "debian:trixie");
	CHECK_STR(list[0].config.arch, "riscv64");
	CHECK_EQ(list[0].config.cpus, (uint64_t)2);
	CHECK_EQ(list[0].config.memory_bytes, (uint64_t)(512 * MiB));
	CHECK_EQ(list[0].config.created_s, (uint64_t)1700000000);
	instance_list_free(list, n);
	instance_remove(home, "one", NULL);
}

static void bad_names_are_refused(void)
{
	static const char *const bad[] = {"", "-a", "a-", "A", "a/b", "..", ".", "a_b",
		"0123456789012345678901234567890123456789012345678901234567890123"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(instance_name_check(bad[i], NULL), -EINVAL);
	CHECK_EQ(instance_name_check("a", NULL), 0);
	CHECK_EQ(instance_name_check("brave-heron-2", NULL), 0);
	CHECK_EQ(instance_remove(home, "../..", NULL), -EINVAL);
}

/* The supervisor is killed at any moment: the next command cleans up. */
static void a_dead_one_is_swept(void)
{
	struct instance_config c = config;
	for (int keep = 0; keep < 2; keep++) {
		c.remove = !keep;
		pid_t pid = fork();
		if (pid == 0) {
			struct instance *i = NULL;
			_exit(instance_create(home, keep ? "keep" : NULL, &c, &i, NULL) ? 1 : 0);
		}
		int status;
		waitpid(pid, &status, 0);
		CHECK_EQ(status, 0);
	}
	CHECK_EQ(count(NULL), (size_t)2);
	instance_sweep(home);
	CHECK_EQ(count(NULL), (size_t)1);
	CHECK_EQ(instance_remove(home, "keep", NULL), 0);
}

static void a_living_one_is_not_swept(void)
{
	struct instance_config c = config;
	c.remove = true;
	struct instance *i = NULL;
	REQUIRE(instance_create(home, NULL, &c, &i, NULL) == 0);
	instance_sweep(home);
	CHECK_EQ(count(NULL), (size_t)1);
	CHECK_EQ(instance_remove_own(i, NULL), 0);
	instance_free(i);
	CHECK_EQ(count(NULL), (size_t)0);
}

static void damage_can_be_seen_and_removed(void)
{
	struct instance *i = NULL;
	REQUIRE(instance_create(home, "hurt", &config, &i, NULL) == 0);
	CHECK_EQ(file_write_atomic(i->dir_fd, "config.json", "{\"image\":", 9, 0600, NULL), 0);
	instance_free(i);
	instance_sweep(home);
	CHECK_EQ(count(NULL), (size_t)1);
	CHECK_EQ(instance_remove(home, "hurt", NULL), 0);
}

int main(void)
{
	if (!mkdtemp(home))
		return 1;
	RUN(has_no_instances_at_first);
	RUN(a_name_is_taken_once);
	RUN(config_comes_back);
	RUN(bad_names_are_refused);
	RUN(a_dead_one_is_swept);
	RUN(a_living_one_is_not_swept);
	RUN(damage_can_be_seen_and_removed);
	dir_remove_tree(AT_FDCWD, home, NULL);
	return tap_done();
}
