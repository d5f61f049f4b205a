// SPDX-License-Identifier: Apache-2.0
// What this runtime can do, as features.md of the specification has it. What depends on the host's
// kernel is said of the runtime, not of the host.
#include <jansson.h>

#include "oci/container.h"
#include "oci/json.h"

static json_t *list(const char *const *names, size_t n)
{
	json_t *l = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(l, json_string(names[i]));
	return l;
}
#define LIST(...)                                                                                  \
	({                                                                                         \
		static const char *const names_[] = {__VA_ARGS__};                                 \
		list(names_, ARRAY_SIZE(names_));                                                  \
	})

static json_t *enabled(bool yes)
{
	return json_pack("{s:b}", "enabled", yes);
}

static json_t *linux_features(void)
{
	json_t *namespaces = json_array(), *capabilities = json_array(), *o = json_object();
	for (int k = 0; k < NAMESPACES; k++)
		json_array_append_new(
			namespaces, json_string(spec_namespace_name((enum namespace_kind)k)));
	for (int i = 0; spec_capability_name(i); i++) {
		char name[40];
		snprintf(name, sizeof(name), "CAP_%s", spec_capability_name(i));
		json_array_append_new(capabilities, json_string(name));
	}
	json_object_set_new(o, "namespaces", namespaces);
	json_object_set_new(o, "capabilities", capabilities);
	json_object_set_new(o, "cgroup",
		json_pack("{s:b, s:b, s:b, s:b, s:b}", "v1", true, "v2", true, "systemd", false,
			"systemdUser", false, "rdma", true));
	json_object_set_new(o, "seccomp",
		json_pack("{s:b, s:o, s:o, s:o, s:o, s:o}", "enabled", true, "actions",
			LIST("SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS",
				"SCMP_ACT_TRAP", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE",
				"SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY"),
			"operators",
			LIST("SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ",
				"SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"),
			"archs",
			LIST("SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM",
				"SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64",
				"SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64",
				"SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
				"SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390", "SCMP_ARCH_S390X",
				"SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64"),
			"knownFlags",
			LIST("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
				"SECCOMP_FILTER_FLAG_SPEC_ALLOW",
				"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
			"supportedFlags",
			LIST("SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
				"SECCOMP_FILTER_FLAG_SPEC_ALLOW",
				"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")));
	json_object_set_new(o, "apparmor", enabled(true));
	json_object_set_new(o, "selinux", enabled(true));
	json_object_set_new(o, "intelRdt", enabled(false));
	json_object_set_new(o, "mountExtensions", json_pack("{s:o}", "idmap", enabled(true)));
	return o;
}

static int run(
	const struct global *g, const void *values, char **operands, int *status, struct error *err)
{
	json_t *options = json_array();
	for (size_t i = 0; spec_mount_option_name(i); i++)
		json_array_append_new(options, json_string(spec_mount_option_name(i)));
	json_t *o _json_ = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "ociVersionMin",
		"1.0.0", "ociVersionMax", "1.2.0", "hooks",
		LIST("prestart", "createRuntime", "createContainer", "startContainer", "poststart",
			"poststop"),
		"mountOptions", options, "linux", linux_features(), "annotations", json_object(),
		"potentiallyUnsafeConfigAnnotations", LIST("dev.strata."));
	char *text _free_ = json_dumps(o, JSON_INDENT(2));
	puts(text);
	return 0;
}

const struct command cmd_features = {
	.name = "features",
	.summary = "Print what this runtime can do, as JSON",
	.operands = "",
	.max_operands = 0,
	.run = run,
};
