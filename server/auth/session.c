/*
 * session: sessions and the peers of the local socket, with what is remembered of them in memory.
 *
 * Everything remembered is only a copy of what the database or NSS said lately. auth_forget() and the end of a session
 * raise the generation, and an answer that was begun before is then not remembered, so that nothing comes back.
 */
#include <string.h>

#include "auth/internal.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/weaken.h"

#define EXPIRED_KEEP (90 * 24 * 3600 * CLOCK_SECOND) /* how long a token that has expired is still listed */
#define SEEN_STEP (60 * CLOCK_SECOND) /* a last-seen time is written when it has moved by more */

static void slot_free(struct session_slot *s)
{
	person_unref(s->person);
	free(s);
}

void sessions_free(struct auth *a)
{
	for (size_t i = 0; i < SESSION_BUCKETS; i++)
		while (a->sessions[i]) {
			struct session_slot *s = a->sessions[i];

			a->sessions[i] = s->next;
			slot_free(s);
		}
	for (size_t i = 0; i < a->n_peers; i++)
		person_unref(a->peers[i].person);
}

/* --- sessions ------------------------------------------------------------------------------------------------------ */

static struct session_slot **bucket_of(struct auth *a, const struct sha256 *id)
{
	uint32_t h;

	memcpy(&h, id->b, sizeof h);
	return &a->sessions[h & (SESSION_BUCKETS - 1)];
}

static struct session_slot *slot_find(struct auth *a, const struct sha256 *id)
{
	for (struct session_slot *s = *bucket_of(a, id); s; s = s->next)
		if (sha256_equal(&s->id_hash, id))
			return s;
	return NULL;
}

static void slot_drop(struct auth *a, const struct sha256 *id)
{
	for (struct session_slot **at = bucket_of(a, id); *at; at = &(*at)->next)
		if (sha256_equal(&(*at)->id_hash, id)) {
			struct session_slot *s = *at;

			*at = s->next;
			slot_free(s);
			return;
		}
}

/* Put or renew; takes a reference of its own. */
static void slot_put(struct auth *a, const struct sha256 *id, struct person *who, int64_t created_at, int64_t seen_at, int64_t written_at)
{
	struct session_slot *s = slot_find(a, id);

	if (!s) {
		struct session_slot **at = bucket_of(a, id);

		s = mem_alloc(sizeof *s);
		s->id_hash = *id;
		s->next = *at;
		*at = s;
	}
	person_ref(who);
	person_unref(s->person);
	s->person = who;
	s->created_at = created_at;
	if (seen_at > s->seen_at)
		s->seen_at = seen_at;
	if (written_at > s->written_at)
		s->written_at = written_at;
	s->fresh_until = clock_boot() + a->o.group_cache_us;
}

/* False if it is not the text of a token. */
static bool token_hash(const char *token, struct sha256 *id)
{
	size_t n = strnlen(token, SESSION_TOKEN);

	if (n != SESSION_TOKEN - 1)
		return false;
	sha256_of(id, token, n);
	return true;
}

static void fill(struct session *out, const char *token, const struct sha256 *id, struct person *who, int64_t created_at)
{
	static const char purpose[] = "drydock csrf 1";
	struct sha256 mac;

	hmac_sha256(&mac, token, strlen(token), purpose, sizeof purpose - 1);
	out->person = person_ref(who);
	out->id_hash = *id;
	base64url_of(out->csrf, mac.b, sizeof mac.b);
	out->created_at = created_at;
}

static bool is_current(const struct auth *a, int64_t created_at, int64_t seen_at, int64_t now)
{
	return (now - created_at <= a->o.absolute_us || WEAK(session_absolute)) && (now - seen_at <= a->o.idle_us || WEAK(session_idle));
}

enum err auth_session_start(struct auth *a, struct db *db, struct person *who, const char *address, const char *agent, char token[SESSION_TOKEN])
{
	struct db_session row = { .principal = who->who.user, .created_at = clock_wall(), .address = address, .agent = agent };
	uint8_t secret[32];
	uint64_t generation;
	enum err err;

	random_bytes(secret, sizeof secret);
	base64url_of(token, secret, sizeof secret);
	explicit_bzero(secret, sizeof secret);
	sha256_of(&row.id_hash, token, strlen(token));
	row.seen_at = row.created_at;
	pthread_mutex_lock(&a->lock);
	generation = a->generation;
	pthread_mutex_unlock(&a->lock);
	err = db_session_put(db, &row);
	if (err) {
		explicit_bzero(token, SESSION_TOKEN);
	} else {
		pthread_mutex_lock(&a->lock);
		if (generation == a->generation)
			slot_put(a, &row.id_hash, who, row.created_at, row.seen_at, row.seen_at);
		pthread_mutex_unlock(&a->lock);
	}
	return err;
}

static bool cached(struct auth *a, const char *token, bool used, struct session *out)
{
	struct sha256 id;
	struct session_slot *s;
	int64_t now = clock_wall();
	bool found = false;

	if (!token_hash(token, &id))
		return false;
	pthread_mutex_lock(&a->lock);
	s = slot_find(a, &id);
	if (s && clock_boot() < s->fresh_until && is_current(a, s->created_at, s->seen_at, now)) {
		if (used)
			s->seen_at = now;
		fill(out, token, &id, s->person, s->created_at);
		found = true;
	}
	pthread_mutex_unlock(&a->lock);
	return found;
}

bool auth_session_cached(struct auth *a, const char *token, struct session *out)
{
	return cached(a, token, true, out);
}

static enum err find(struct auth *a, struct db *db, const char *token, bool used, struct session *out)
{
	struct arena *arena = arena_new();
	struct person *who = NULL;
	struct db_session row;
	struct session_slot *s;
	struct sha256 id;
	int64_t now = clock_wall(), seen_at;
	uint64_t generation;
	bool enabled;
	enum err err;

	if (!token_hash(token, &id)) {
		err = err_set(ERR_NOT_FOUND, "There is no such session.");
		goto out;
	}
	pthread_mutex_lock(&a->lock);
	generation = a->generation;
	s = slot_find(a, &id);
	seen_at = s ? s->seen_at : 0;
	pthread_mutex_unlock(&a->lock);
	err = db_session_get(db, &id, &row, arena);
	if (err)
		goto out;
	if (row.seen_at > seen_at)
		seen_at = row.seen_at;
	if (!is_current(a, row.created_at, seen_at, now)) {
		err = auth_session_end(a, db, &id);
		if (!err)
			err = err_set(ERR_NOT_FOUND, "The session has expired.");
		goto out;
	}
	err = auth_person(a, db, row.principal, &who, &enabled);
	if (err == ERR_NOT_FOUND || (!err && !enabled && !WEAK(session_person))) {
		err = auth_session_end(a, db, &id);
		if (!err)
			err = err_set(ERR_NOT_FOUND, "The session has ended.");
		goto out;
	}
	if (err)
		goto out;
	pthread_mutex_lock(&a->lock);
	if (generation == a->generation)
		slot_put(a, &id, who, row.created_at, used ? now : seen_at, row.seen_at);
	pthread_mutex_unlock(&a->lock);
	fill(out, token, &id, who, row.created_at);
out:
	person_unref(who);
	arena_free(arena);
	return err;
}

enum err auth_session_find(struct auth *a, struct db *db, const char *token, struct session *out)
{
	return find(a, db, token, true, out);
}

enum err auth_session_watch(struct auth *a, struct db *db, const char *token, struct session *out)
{
	return cached(a, token, false, out) ? ERR_OK : find(a, db, token, false, out);
}

enum err auth_session_end(struct auth *a, struct db *db, const struct sha256 *id_hash)
{
	/* Out of memory first: a session whose end the database could not store is at least gone here. */
	pthread_mutex_lock(&a->lock);
	a->generation++;
	slot_drop(a, id_hash);
	pthread_mutex_unlock(&a->lock);
	return db_session_end(db, id_hash);
}

enum err auth_session_end_all(struct auth *a, struct db *db, const char *principal)
{
	enum err err = db_session_end_all(db, principal);

	pthread_mutex_lock(&a->lock);
	a->generation++;
	for (size_t i = 0; i < SESSION_BUCKETS; i++)
		for (struct session_slot **at = &a->sessions[i]; *at;) {
			struct session_slot *s = *at;

			if (strcmp(s->person->who.user, principal) == 0) {
				*at = s->next;
				slot_free(s);
			} else {
				at = &s->next;
			}
		}
	pthread_mutex_unlock(&a->lock);
	return err;
}

struct seen {
	struct sha256 id_hash;
	int64_t seen_at;
};

enum err auth_housekeeping(struct auth *a, struct db *db)
{
	int64_t now = clock_wall();
	struct seen *list = NULL;
	size_t n = 0, cap = 0;
	enum err err = ERR_OK;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < SESSION_BUCKETS; i++)
		for (struct session_slot **at = &a->sessions[i]; *at;) {
			struct session_slot *s = *at;

			if (!is_current(a, s->created_at, s->seen_at, now)) {
				*at = s->next;
				slot_free(s);
				continue;
			}
			if (s->seen_at - s->written_at >= SEEN_STEP) {
				list = mem_grow(list, &cap, n + 1, sizeof *list);
				list[n++] = (struct seen){ s->id_hash, s->seen_at };
			}
			at = &s->next;
		}
	pthread_mutex_unlock(&a->lock);

	for (size_t i = 0; i < n && !err; i++) {
		struct session_slot *s;

		err = db_session_seen(db, &list[i].id_hash, list[i].seen_at);
		if (err)
			break;
		pthread_mutex_lock(&a->lock);
		s = slot_find(a, &list[i].id_hash);
		if (s)
			s->written_at = list[i].seen_at;
		pthread_mutex_unlock(&a->lock);
	}
	free(list);
	if (!err)
		err = db_session_expire(db, now - a->o.idle_us, now - a->o.absolute_us);
	if (!err)
		err = db_token_expire(db, now - EXPIRED_KEEP);
	if (!err)
		err = tokens_of_the_gone(a, db);
	if (!err && a->o.event_keep_us)
		err = db_event_expire(db, now - a->o.event_keep_us);
	return err;
}

void auth_forget(struct auth *a)
{
	pthread_mutex_lock(&a->lock);
	a->generation++;
	for (size_t i = 0; i < SESSION_BUCKETS; i++)
		for (struct session_slot *s = a->sessions[i]; s; s = s->next)
			s->fresh_until = 0;
	for (size_t i = 0; i < a->n_peers; i++) {
		person_unref(a->peers[i].person);
		a->peers[i].person = NULL;
	}
	a->n_peers = 0;
	tokens_forget(a);
	pthread_mutex_unlock(&a->lock);
}

/* --- peers of the local socket ------------------------------------------------------------------------------------- */

enum err auth_unix_peer(struct auth *a, struct db *db, uid_t uid, struct person **out)
{
	struct arena *arena = arena_new();
	int64_t now = clock_boot();
	struct peer_slot *slot = NULL;
	const char *name;
	uint64_t generation;
	bool enabled;
	enum err err;

	*out = NULL;
	pthread_mutex_lock(&a->lock);
	generation = a->generation;
	for (size_t i = 0; i < a->n_peers; i++)
		if (a->peers[i].uid == uid && now < a->peers[i].fresh_until)
			*out = person_ref(a->peers[i].person);
	pthread_mutex_unlock(&a->lock);
	if (*out) {
		err = ERR_OK;
		goto out;
	}
	err = unix_name(a, uid, &name, arena);
	if (err)
		goto out;
	if (!principal_valid(arena_printf(arena, "unix:%s", name)) || name[0] == '@') {
		err = err_set(ERR_DENIED, "The name of the UNIX user with number %lu cannot be used.", (unsigned long)uid);
		goto out;
	}
	err = auth_person(a, db, arena_printf(arena, "unix:%s", name), out, &enabled);
	if (err == ERR_NOT_FOUND)
		err = err_set(ERR_DENIED, "The UNIX user with number %lu is not known here.", (unsigned long)uid);
	if (err)
		goto out;
	pthread_mutex_lock(&a->lock);
	if (generation == a->generation) {
		for (size_t i = 0; i < a->n_peers; i++)
			if (a->peers[i].uid == uid)
				slot = &a->peers[i];
		if (!slot && a->n_peers < PEER_LIMIT)
			slot = &a->peers[a->n_peers++];
		else if (!slot)
			slot = &a->peers[(size_t)uid % PEER_LIMIT];
		person_unref(slot->person);
		*slot = (struct peer_slot){ uid, person_ref(*out), now + a->o.group_cache_us };
	}
	pthread_mutex_unlock(&a->lock);
out:
	arena_free(arena);
	return err;
}
