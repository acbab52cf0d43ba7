#include "web/preapproval.h"

#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "conf/conf.h"

enum err preapproval_wish(struct path path, const char *pattern, const char *largest, const char *until, struct preapproved *out)
{
	int64_t us;

	*out = (struct preapproved){ .path = path, .pattern = pattern ? pattern : "" };
	if (largest && *largest && (conf_size(&out->largest, largest) || out->largest == 0))
		return err_set(ERR_INPUT, "How large may a file be? A number with a unit, such as 500kB or 2MiB.");
	if (!until || !*until)
		return preapproved_check(out);
	if (conf_duration(&us, until) == ERR_OK)
		out->until = clock_wall() + us;
	else if (clock_parse_loose(&out->until, until))
		return err_set(ERR_INPUT, "When does the pre-approval end? A time from now such as 90d, or a date such as 2027-01-31.");
	return preapproved_check(out);
}

const char *preapproval_condition(const struct preapproved *p, struct arena *a)
{
	struct buf b = BUF_INIT(4096);
	const char *text = NULL;

	if (*p->pattern)
		utf8_visible(&b, p->pattern, strlen(p->pattern), false);
	if (p->largest) {
		buf_str(&b, *p->pattern ? ", at most " : "at most ");
		conf_size_text(p->largest, &b);
	}
	if (b.len > 0)
		text = arena_dup(a, buf_text(&b));
	buf_release(&b);
	return text;
}
