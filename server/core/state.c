#include "core/state.h"

#include <stdio.h>
#include <string.h>

bool state_of(enum file_state *out, bool staged, enum problem problem, const struct fingerprint *staged_print,
    enum approval approval, const struct fingerprint *approved_print, bool preapproved_here)
{
	if (!staged) {
		if (approval != APPROVAL_SIGNED && approval != APPROVAL_PREAPPROVED)
			return false;
		*out = STATE_MISSING;
		return true;
	}
	if (problem != PROBLEM_NONE) {
		*out = STATE_UNPUBLISHABLE;
		return true;
	}
	switch (approval) {
	case APPROVAL_NONE:
		*out = preapproved_here ? STATE_PREAPPROVED : STATE_UNSIGNED;
		break;
	case APPROVAL_REVOKED:
		/* A person took it away: only a person brings it back. */
		*out = STATE_REVOKED;
		break;
	case APPROVAL_SIGNED:
	case APPROVAL_PREAPPROVED:
		if (fingerprint_equal(staged_print, approved_print))
			*out = approval == APPROVAL_SIGNED ? STATE_SIGNED : STATE_PREAPPROVED;
		else
			/* Where a pre-approval holds, the next sync takes the change up without anybody. */
			*out = preapproved_here ? STATE_PREAPPROVED : STATE_CHANGED;
		break;
	}
	return true;
}

static const char *const state_names[STATE_COUNT] = {
	[STATE_UNSIGNED] = "unsigned",
	[STATE_CHANGED] = "changed",
	[STATE_MISSING] = "missing",
	[STATE_REVOKED] = "revoked",
	[STATE_PREAPPROVED] = "preapproved",
	[STATE_SIGNED] = "signed",
	[STATE_UNPUBLISHABLE] = "unpublishable",
};

const char *state_name(enum file_state s)
{
	return state_names[s];
}

bool state_parse(enum file_state *out, const char *name)
{
	for (int i = 0; i < STATE_COUNT; i++)
		if (strcmp(state_names[i], name) == 0) {
			*out = (enum file_state)i;
			return true;
		}
	return false;
}

static const struct {
	const char *name, *text;
} problems[PROBLEM_COUNT] = {
	[PROBLEM_NONE] = { "none", "nothing stands against it" },
	[PROBLEM_SYMLINK] = { "symlink", "symbolic links are not published" },
	[PROBLEM_SPECIAL] = { "special", "devices, pipes and sockets are not published" },
	[PROBLEM_HARDLINK] = { "hardlink", "it has more than one name (hard link)" },
	[PROBLEM_NAME] = { "name", "its name is reserved, badly encoded or has control characters" },
	[PROBLEM_TOO_LONG] = { "too-long", "its path or a part of it is too long" },
	[PROBLEM_TOO_BIG] = { "too-big", "it is over the site's largest file size" },
	[PROBLEM_UNREADABLE] = { "unreadable", "it cannot be read: look at its permissions" },
	[PROBLEM_BUSY] = { "busy", "it kept changing while it was read: try again" },
	[PROBLEM_OTHER_FS] = { "other-fs", "it is on another file system" },
};

const char *problem_name(enum problem p)
{
	return problems[p].name;
}

const char *problem_text(enum problem p)
{
	return problems[p].text;
}

const char *problem_sentence(enum problem p, uint64_t largest_file, char out[PROBLEM_SENTENCE])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB" };
	size_t unit = 0;

	if (p != PROBLEM_TOO_BIG)
		return problems[p].text;
	while (largest_file && largest_file % 1024 == 0 && unit + 1 < sizeof units / sizeof *units) {
		largest_file /= 1024;
		unit++;
	}
	snprintf(out, PROBLEM_SENTENCE, "it is larger than %llu %s, the most that this site publishes", (unsigned long long)largest_file, units[unit]);
	return out;
}
