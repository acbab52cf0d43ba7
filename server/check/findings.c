/* What was found, told to whoever asked. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "check/internal.h"

#define PASSES 3 /* that mend, beside acts */

static const struct { const char *name, *repair; } FINDINGS[FINDING_COUNT] = {
#define FINDING(id, name, repair) [FINDING_##id] = { name, repair },
#include "check/findings.def"
#undef FINDING
};

const char *finding_name(enum finding_id id)
{
	return FINDINGS[id].name;
}

const char *finding_repair(enum finding_id id)
{
	return FINDINGS[id].repair;
}

const char *commit_hex(const struct blob_id *id, char out[COMMIT_HEX])
{
	hex_of(out, id->b, BLOB_ID_SIZE);
	return out;
}

static void tell(struct check *c, enum finding_id id, const char *subject, const char *what)
{
	struct check_finding f = { .id = id, .site = c->p ? c->p->name : "", .subject = subject, .what = what };

	if (c->o->found)
		c->o->found(c->o->arg, &f);
}

void found(struct check *c, enum finding_id id, const char *subject, const char *fmt, ...)
{
	char what[2048];
	va_list ap;

	c->out->findings++;
	if (++c->of_kind[id] > FINDINGS_OF_A_KIND)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	tell(c, id, subject, what);
}

void found_end(struct check *c)
{
	for (int id = 0; id < FINDING_COUNT; id++) {
		char what[128];

		if (c->of_kind[id] <= FINDINGS_OF_A_KIND)
			continue;
		snprintf(what, sizeof(what), "and %llu more of this kind", (unsigned long long)(c->of_kind[id] - FINDINGS_OF_A_KIND));
		tell(c, (enum finding_id)id, "", what);
	}
}

/* --- passes ----------------------------------------------------------------------------------------------------------- */

struct noted {
	enum finding_id id;
	char *subject, *what;
};

struct notes {
	struct noted *list;
	size_t n, cap;
};

static void note(void *arg, const struct check_finding *f)
{
	struct notes *notes = arg;

	notes->list = mem_grow(notes->list, &notes->cap, notes->n + 1, sizeof(*notes->list));
	notes->list[notes->n++] = (struct noted){ f->id, mem_dup(f->subject), mem_dup(f->what) };
}

static bool noted(const struct notes *notes, const struct noted *x)
{
	for (size_t i = 0; i < notes->n; i++)
		if (notes->list[i].id == x->id && strcmp(notes->list[i].subject, x->subject) == 0)
			return true;
	return false;
}

static void tell_noted(const struct check_place *p, const struct check_options *o, const struct noted *x, bool repaired)
{
	const struct check_finding f = { .id = x->id, .site = p->name, .subject = x->subject, .what = x->what, .repaired = repaired };

	if (o->found)
		o->found(o->arg, &f);
}

static void notes_release(struct notes *notes)
{
	for (size_t i = 0; i < notes->n; i++) {
		free(notes->list[i].subject);
		free(notes->list[i].what);
	}
	free(notes->list);
}

/* *again: NULL, or whether acts kept it from mending. */
static enum err pass(const struct check_place *p, const struct check_options *o, struct check_result *out, pass_fn *fn, const void *arg, bool *mended, bool *again)
{
	struct check c = { .p = p, .o = o, .out = out, .mend = again != NULL };
	enum err e = fn(&c, arg);

	found_end(&c);
	*mended |= c.mended;
	if (again)
		*again = c.overtaken;
	return e;
}

/* Acts came in between each time: now none does, for as long as a check without the bytes takes. */
static enum err pass_alone(const struct check_place *p, const struct check_options *o, struct check_result *out, pass_fn *fn, const void *arg, bool *mended)
{
	struct check_place still = *p;
	bool overtaken;
	enum err e;

	still.writer = NULL;
	log_event(LOG_LEVEL_WARN, "check.alone", "site", p->name, "message", "acts have to wait: rows could not be put right beside them", NULL);
	hold(p);
	e = pass(&still, o, out, fn, arg, mended, &overtaken);
	let_go(p);
	return e;
}

enum err check_passes(const struct check_place *p, const struct check_options *o, struct check_result *out, pass_fn *fn, const void *arg)
{
	struct notes first = { .n = 0 }, second = { .n = 0 }, more = { .n = 0 };
	struct check_options to_note = *o;
	struct check_result again = { 0 };
	bool mended = false, overtaken = false;
	enum err e;

	memset(out, 0, sizeof(*out));
	if (!o->repair)
		return pass(p, o, out, fn, arg, &mended, NULL);
	to_note.found = note;
	to_note.arg = &first;
	e = pass(p, &to_note, out, fn, arg, &mended, &overtaken);
	to_note.arg = &more;
	to_note.deep = false;
	for (unsigned i = 1; !e && overtaken && i < PASSES; i++)
		e = pass(p, &to_note, &again, fn, arg, &mended, &overtaken);
	if (!e && overtaken)
		e = pass_alone(p, &to_note, &again, fn, arg, &mended);
	if (!e && mended) {
		to_note.arg = &second;
		to_note.deep = o->deep;
		memset(&again, 0, sizeof(again));
		e = pass(p, &to_note, &again, fn, arg, &mended, NULL);
		out->repaired = out->findings > again.findings ? out->findings - again.findings : 0;
		for (size_t i = 0; i < first.n; i++)
			if (!noted(&second, &first.list[i]))
				tell_noted(p, o, &first.list[i], true);
		for (size_t i = 0; i < second.n; i++)
			tell_noted(p, o, &second.list[i], false);
	} else {
		for (size_t i = 0; i < first.n; i++)
			tell_noted(p, o, &first.list[i], false);
	}
	notes_release(&first);
	notes_release(&second);
	notes_release(&more);
	return e;
}

bool stopped(const struct check *c)
{
	return c->o->stop && *c->o->stop;
}

void hold(const struct check_place *p)
{
	if (p->writer)
		pthread_mutex_lock(p->writer);
}

void let_go(const struct check_place *p)
{
	if (p->writer)
		pthread_mutex_unlock(p->writer);
}
