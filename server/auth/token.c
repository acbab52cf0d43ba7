/*
 * token: API tokens. Whoever has the text of one acts as its owner, but never beyond the token's role, site, path and
 * end. The database has the text's SHA-256 only. What it said is remembered as long as groups are, in a table of fixed
 * size; a use is written down when the database is asked anyway, so at most once in that time.
 */
#include <string.h>

#include "auth/internal.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/weaken.h"

#define PREFIX "ddt_"
#define GONE_STEP (10 * 60 * CLOCK_SECOND) /* how often owners are looked up who may have left */

void auth_token_make(char text[API_TOKEN_TEXT], struct sha256 *hash, char id[TOKEN_ID])
{
	uint8_t secret[32], name[(TOKEN_ID - 1) / 2];

	random_bytes(secret, sizeof secret);
	random_bytes(name, sizeof name);
	memcpy(text, PREFIX, sizeof PREFIX - 1);
	base64url_of(text + sizeof PREFIX - 1, secret, sizeof secret);
	explicit_bzero(secret, sizeof secret);
	sha256_of(hash, text, API_TOKEN_TEXT - 1);
	hex_of(id, name, sizeof name);
}

static bool text_hash(const char *text, struct sha256 *hash)
{
	size_t n = strnlen(text, API_TOKEN_TEXT);

	if (n != API_TOKEN_TEXT - 1 || strncmp(text, PREFIX, sizeof PREFIX - 1) != 0)
		return false;
	sha256_of(hash, text, n);
	return true;
}

static struct token_slot *slot_of(struct auth *a, const struct sha256 *hash)
{
	uint32_t h;

	memcpy(&h, hash->b, sizeof h);
	return &a->tokens[h & (TOKEN_SLOTS - 1)];
}

static void slot_clear(struct token_slot *s)
{
	person_unref(s->person);
	*s = (struct token_slot){ .person = NULL };
}

void tokens_forget(struct auth *a)
{
	for (size_t i = 0; i < TOKEN_SLOTS; i++)
		slot_clear(&a->tokens[i]);
}

bool token_slot_get(struct auth *a, const struct sha256 *hash, struct session *out)
{
	struct token_slot *s;
	bool found;

	pthread_mutex_lock(&a->lock);
	s = slot_of(a, hash);
	found = s->person && sha256_equal(&s->hash, hash) && clock_boot() < s->fresh_until &&
	    (clock_wall() < s->expires_at || WEAK(token_end_kept));
	if (found)
		*out = (struct session){ .person = person_ref(s->person), .id_hash = *hash, .created_at = s->created_at };
	pthread_mutex_unlock(&a->lock);
	return found;
}

void token_slot_put(struct auth *a, uint64_t generation, const struct sha256 *hash, struct person *who, int64_t created_at, int64_t expires_at)
{
	pthread_mutex_lock(&a->lock);
	if (generation == a->generation) {
		struct token_slot *s = slot_of(a, hash);

		slot_clear(s);
		*s = (struct token_slot){ .hash = *hash, .person = person_ref(who), .created_at = created_at, .expires_at = expires_at,
			.fresh_until = clock_boot() + a->o.group_cache_us };
	}
	pthread_mutex_unlock(&a->lock);
}

bool auth_token_cached(struct auth *a, const char *text, struct session *out)
{
	struct sha256 hash;

	return text_hash(text, &hash) && token_slot_get(a, &hash, out);
}

/* The row stands; is there still somebody behind it? */
static enum err owner_of(struct auth *a, struct db *db, const struct db_token *row, struct person **out)
{
	struct person *owner = NULL;
	struct role_limit limit = { .role = row->role <= ROLE_ADMIN ? (enum role)row->role : ROLE_NONE, .site = row->site, .token = row->id };
	bool enabled;
	enum err err = path_check(&limit.path, row->path);

	if (!err)
		err = auth_person(a, db, row->principal, &owner, &enabled);
	if (err == ERR_NOT_FOUND) {
		err = db_token_remove_all(db, row->principal);
		if (!err)
			err = err_set(ERR_NOT_FOUND, "The owner of the token %s, %s, is not known here any more.", row->id, row->principal);
	} else if (!err && !enabled && !WEAK(token_owner)) {
		err = err_set(ERR_NOT_FOUND, "The owner of the token %s, %s, may not log in.", row->id, row->principal);
	} else if (!err) {
		*out = person_limited(owner, &limit);
	}
	person_unref(owner);
	return err;
}

enum err auth_token_find(struct auth *a, struct db *db, const char *text, const char *address, struct session *out)
{
	struct arena *arena = arena_new();
	struct person *who = NULL;
	struct db_token row;
	struct sha256 hash;
	int64_t now = clock_wall();
	uint64_t generation;
	enum err err;

	*out = (struct session){ .person = NULL };
	if (!text_hash(text, &hash)) {
		err = err_set(ERR_NOT_FOUND, "That is not a token of DryDock.");
		goto out;
	}
	pthread_mutex_lock(&a->lock);
	generation = a->generation;
	pthread_mutex_unlock(&a->lock);
	err = db_token_get(db, &hash, &row, arena);
	if (err == ERR_NOT_FOUND)
		err = err_set(ERR_NOT_FOUND, "There is no such token: it may have been revoked.");
	else if (!err && now >= row.expires_at && !WEAK(token_end))
		err = err_set(ERR_NOT_FOUND, "The token %s has expired.", row.id);
	if (!err)
		err = owner_of(a, db, &row, &who);
	if (!err)
		err = db_token_used(db, &hash, now, address);
	if (err)
		goto out;
	token_slot_put(a, generation, &hash, who, row.created_at, row.expires_at);
	*out = (struct session){ .person = person_ref(who), .id_hash = hash, .created_at = row.created_at };
out:
	person_unref(who);
	arena_free(arena);
	return err;
}

/* --- those who left ------------------------------------------------------------------------------------------------ */

struct owners {
	struct arena *a;
	const char **list;
	size_t n, cap;
};

static bool gather_owner(void *arg, const struct db_token *t)
{
	struct owners *o = arg;

	/* The list is sorted by owner. */
	if (!o->n || strcmp(o->list[o->n - 1], t->principal) != 0) {
		o->list = mem_grow(o->list, &o->cap, o->n + 1, sizeof *o->list);
		o->list[o->n++] = arena_dup(o->a, t->principal);
	}
	return true;
}

/* Somebody else of that name may come one day: he does not inherit them. */
enum err tokens_of_the_gone(struct auth *a, struct db *db)
{
	struct owners o = { .a = arena_new() };
	enum err err = ERR_OK;
	int64_t now = clock_boot();
	bool due;

	pthread_mutex_lock(&a->lock);
	due = now >= a->gone_at;
	if (due)
		a->gone_at = now + GONE_STEP;
	pthread_mutex_unlock(&a->lock);
	if (due)
		err = db_token_list(db, NULL, gather_owner, &o);
	for (size_t i = 0; i < o.n && !err; i++) {
		struct person *owner = NULL;

		err = auth_person(a, db, o.list[i], &owner, NULL);
		person_unref(owner);
		if (err == ERR_NOT_FOUND) {
			log_event(LOG_LEVEL_INFO, "auth.tokens.gone", "user", o.list[i], NULL);
			err = db_token_remove_all(db, o.list[i]);
		}
	}
	free(o.list);
	arena_free(o.a);
	return err;
}
