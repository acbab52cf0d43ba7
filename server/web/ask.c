/*
 * ask: what a handler may ask about its request.
 */
#include <string.h>

#include "base/weaken.h"
#include "web/life.h"

const char *req_segment(struct req *r, const char *name)
{
	const struct life *l = life_of(r);

	for (size_t i = 0; i < l->n_segments; i++)
		if (strcmp(l->segments[i].name, name) == 0)
			return l->segments[i].value;
	return NULL;
}

const char *req_query(struct req *r, const char *name)
{
	return fields_get(&life_of(r)->query, name);
}

const char *req_form(struct req *r, const char *name)
{
	return fields_get(&life_of(r)->form, name);
}

size_t req_form_count(struct req *r, const char *name)
{
	return fields_count(&life_of(r)->form, name);
}

const char *req_form_name(struct req *r, size_t i)
{
	return fields_name(&life_of(r)->form, i);
}

const char *req_form_at(struct req *r, const char *name, size_t i)
{
	return fields_at(&life_of(r)->form, name, i);
}

const char *req_header(struct req *r, const char *name)
{
	const struct life *l = life_of(r);
	const struct guard_header *h = guard_find(l->headers, l->n_headers, name);

	return h ? h->value : NULL;
}

const char *req_target(struct req *r)
{
	return life_of(r)->target;
}

static bool number(const char *text, uint64_t *v)
{
	*v = 0;
	for (const char *p = text; *p; p++)
		if (*p < '0' || *p > '9' || __builtin_mul_overflow(*v, (uint64_t)10, v) || __builtin_add_overflow(*v, (uint64_t)(*p - '0'), v))
			return false;
	return text[0] != '\0';
}

enum err req_segment_number(struct req *r, const char *name, uint64_t *out)
{
	const char *text = req_segment(r, name);

	*out = 0;
	return text && number(text, out) && *out > 0 ? ERR_OK : err_set(ERR_NOT_FOUND, "There is nothing at this address.");
}

enum err req_number(struct req *r, const char *name, uint64_t low, uint64_t high, uint64_t fallback, uint64_t *out)
{
	const char *text = req_query(r, name);
	uint64_t v;

	*out = fallback;
	if (!text)
		text = req_form(r, name);
	if (!text || !text[0])
		return ERR_OK;
	if (!number(text, &v) || v < low || v > high)
		return err_set(ERR_INPUT, "\"%s\" must be a number from %llu to %llu.", name, (unsigned long long)low, (unsigned long long)high);
	*out = v;
	return ERR_OK;
}

bool req_patient(struct req *r)
{
	struct life *l = life_of(r);

	l->patient_wanted = true;
	return l->patient;
}

/* The body as it came holds it too; nothing else of it is needed any more once it is parsed. */
void req_wipe(struct req *r, const char *secret)
{
	struct life *l = life_of(r);

	if (secret)
		explicit_bzero((char *)(uintptr_t)secret, strlen(secret));
	if (l->body.p)
		explicit_bzero(l->body.p, l->body.len);
}

bool req_site_open(const struct req *r, const struct site *s)
{
	const struct role_limit *limit = r->person ? r->person->who.limit : NULL;

	return !limit || !*limit->site || strcmp(limit->site, s->name) == 0 || WEAK(token_site);
}

enum role req_role_on(struct req *r, struct path p)
{
	return r->rules && r->person ? role_on(r->rules, &r->person->who, p) : ROLE_NONE;
}

struct catalog_view req_view(struct req *r)
{
	return (struct catalog_view){ r->rules, &r->person->who };
}
