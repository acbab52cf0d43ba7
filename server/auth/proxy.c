/*
 * proxy: people whom a trusted proxy names in a header of each request. Nothing else is known of them here: who they are,
 * whether they still exist and which groups they are in is what the proxy says, each time.
 */
#include <string.h>

#include "auth/internal.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/weaken.h"

static enum err proxy_user(struct auth *au, struct db *db, const char *name, struct provider_user *out, struct arena *a)
{
	(void)db;
	if (!au->o.proxy)
		return err_set(ERR_NOT_FOUND, "No proxy is trusted here.");
	out->display = arena_dup(a, name);
	out->enabled = true;
	return ERR_OK;
}

static enum err proxy_group(struct auth *au, struct db *db, const char *name)
{
	(void)db;
	(void)name;
	return au->o.proxy ? ERR_OK : err_set(ERR_NOT_FOUND, "No proxy is trusted here.");
}

static enum err proxy_members(struct auth *au, struct db *db, const char *group, void (*fn)(void *arg, const char *principal), void *arg)
{
	(void)au;
	(void)db;
	(void)group;
	(void)fn;
	(void)arg;
	return ERR_OK;
}

const struct provider provider_proxy = { "proxy", proxy_user, proxy_group, proxy_members };

/* "a, b,c" as principals; a name that no rule could have is left out. */
static void add_groups(struct provider_user *u, const char *list, struct arena *a)
{
	while (*list) {
		size_t n;

		list += strspn(list, ", \t");
		n = strcspn(list, ",");
		size_t end = n;
		while (end && (list[end - 1] == ' ' || list[end - 1] == '\t'))
			end--;
		const char *principal = arena_printf(a, "proxy:@%.*s", (int)end, list);
		if (end && end <= 128 && principal_valid(principal))
			provider_user_group(u, a, principal);
		list += n;
	}
}

static enum err look_up(struct auth *a, struct db *db, const char *principal, const char *name, const char *groups, struct person **out)
{
	struct arena *arena = arena_new();
	struct provider_user user = { .enabled = true };
	enum err err;

	(void)a;
	add_groups(&user, groups, arena);
	err = own_memberships(db, principal, &user, arena);
	provider_user_sort(&user);
	if (!err)
		*out = person_new("proxy", name, name, user.groups, user.n);
	arena_free(arena);
	return err;
}

enum err auth_proxy_person(struct auth *a, struct db *db, const char *name, const char *groups, struct session *out)
{
	struct buf key = BUF_INIT(65536);
	struct person *who = NULL;
	const char *principal;
	uint64_t generation;
	enum err err = ERR_OK;

	*out = (struct session){ .person = NULL };
	buf_fmt(&key, "proxy:%s", name);
	buf_char(&key, '\0');
	buf_str(&key, groups);
	principal = buf_text(&key);
	if (key.over || ((name[0] == '@' || !principal_valid(principal)) && !WEAK(proxy_names))) {
		err = err_set(ERR_DENIED, "The proxy names somebody who cannot be named here.");
		goto out;
	}
	sha256_of(&out->id_hash, key.p, key.len);
	pthread_mutex_lock(&a->lock);
	generation = a->generation;
	pthread_mutex_unlock(&a->lock);
	if (!token_slot_get(a, &out->id_hash, out)) {
		if (!db)
			err = ERR_RETRY;
		else
			err = look_up(a, db, principal, name, groups, &who);
		if (!err) {
			token_slot_put(a, generation, &out->id_hash, who, clock_wall(), INT64_MAX);
			out->person = person_ref(who);
		}
	}
	if (!err) {
		struct sha256 mac;

		/* No session has a secret here: one of the process, and whose form it is. */
		hmac_sha256(&mac, a->secret, sizeof a->secret, principal, strlen(principal));
		base64url_of(out->csrf, mac.b, sizeof mac.b);
	}
out:
	person_unref(who);
	buf_release(&key);
	return err;
}
