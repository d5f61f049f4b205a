// SPDX-License-Identifier: Apache-2.0
#include "instance/names.h"

static const char *const adjectives[] = {"able", "agile", "amber", "ample", "apt", "bold", "brave",
	"brief", "bright", "brisk", "calm", "candid", "civil", "clear", "clever", "cool", "crisp",
	"deft", "eager", "early", "exact", "fair", "fine", "firm", "fleet", "fond", "frank",
	"fresh", "gentle", "glad", "grand", "green", "handy", "happy", "hardy", "honest", "humble",
	"ideal", "jolly", "keen", "kind", "light", "lively", "lucid", "lucky", "mellow", "merry",
	"mild", "neat", "nimble", "noble", "patient", "plain", "prompt", "proud", "quick", "quiet",
	"rapid", "ready", "sharp", "silent", "smart", "steady", "swift"};

static const char *const nouns[] = {"agate", "alder", "aspen", "badger", "basalt", "beech", "birch",
	"bison", "cedar", "clay", "cliff", "coral", "crane", "delta", "dune", "eagle", "elm",
	"falcon", "fern", "finch", "fjord", "flint", "fox", "geyser", "glade", "gneiss", "granite",
	"grove", "harbor", "hazel", "heron", "ibis", "iris", "jasper", "kite", "lagoon", "lark",
	"larch", "ledge", "linden", "lynx", "maple", "marble", "marten", "meadow", "mesa", "moss",
	"oak", "onyx", "otter", "pebble", "pine", "plover", "quartz", "raven", "reef", "ridge",
	"rowan", "sable", "shale", "slate", "spruce", "tern", "willow"};

char *name_from_number(uint64_t n)
{
	return xasprintf("%s-%s", adjectives[n % ARRAY_SIZE(adjectives)],
		nouns[n / ARRAY_SIZE(adjectives) % ARRAY_SIZE(nouns)]);
}
