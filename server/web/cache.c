/*
 * cache: pages kept as libmicrohttpd's responses, headers and all, so that a hit costs a look-up and no copy.
 *
 * The key holds everything that a page depends on: target, session, person, rules, the site's acts and sync, what the
 * handler says of the catalog, and the minute (pages tell relative times). Nothing is ever shared between persons.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "web/life.h"

#define BUCKETS 1024
#define OVERHEAD 1024 /* bytes counted for each page beside its body */

struct page {
	struct page *next; /* in its bucket */
	struct page *newer, *older; /* in the order of use */
	struct MHD_Response *response, *same; /* 200 and 304 */
	char etag[20];
	uint64_t size, hash;
	_Atomic unsigned refs; /* one is the cache's */
	size_t key_len;
	char key[];
};

struct page_cache {
	pthread_mutex_t lock;
	struct page *buckets[BUCKETS];
	struct page *newest, *oldest;
	size_t bytes, limit;
};

struct page_cache *page_cache_new(size_t limit)
{
	struct page_cache *c = mem_alloc(sizeof(*c));

	pthread_mutex_init(&c->lock, NULL);
	c->limit = limit;
	return c;
}

void page_unref(struct page *p)
{
	if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
		return;
	MHD_destroy_response(p->response);
	if (p->same)
		MHD_destroy_response(p->same);
	free(p);
}

void page_cache_free(struct page_cache *c)
{
	if (!c)
		return;
	for (struct page *p = c->newest, *older; p; p = older) {
		older = p->older;
		page_unref(p);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct MHD_Response *page_response(const struct page *p, bool same)
{
	return same ? p->same : p->response;
}

static uint64_t hash_of(const char *p, size_t n)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)p[i]) * 1099511628211u;
	return h;
}

/*
 * Made once, before the page is built: what moves on meanwhile must not put an older page under a newer key. NULL if
 * this request's reply is not one to keep.
 */
static const char *key_of(struct life *l, uint64_t generation, size_t *len)
{
	struct req *r = &l->r;
	struct { uint64_t generation, rules, acts, minute, run, release; int64_t due; uint64_t running; struct sha256 session; } fixed;
	struct sync_status st;

	*len = l->cache_key_len;
	if (l->cache_key && l->cache_generation == generation)
		return l->cache_key;
	if (r->method != METHOD_GET || !r->person)
		return NULL;
	memset(&fixed, 0, sizeof(fixed));
	fixed.generation = generation;
	fixed.rules = r->rules_version;
	fixed.minute = (uint64_t)(clock_wall() / (60 * CLOCK_SECOND));
	fixed.acts = l->acts;
	if (r->sync) {
		sync_status(r->sync, &st);
		fixed.run = st.run;
		fixed.release = st.release;
		fixed.due = st.next.due / CLOCK_SECOND;
		fixed.running = st.running;
	}
	if (r->has_session)
		fixed.session = r->session.id_hash;
	size_t user = strlen(r->person->who.user) + 1;
	char *key = arena_alloc(r->arena, sizeof(fixed) + user + l->target_len);
	memcpy(key, &fixed, sizeof(fixed));
	memcpy(key + sizeof(fixed), r->person->who.user, user);
	memcpy(key + sizeof(fixed) + user, l->target, l->target_len);
	l->cache_key = key;
	l->cache_generation = generation;
	l->cache_key_len = *len = sizeof(fixed) + user + l->target_len;
	return key;
}

static void order_out(struct page_cache *c, struct page *p)
{
	if (p->newer)
		p->newer->older = p->older;
	else
		c->newest = p->older;
	if (p->older)
		p->older->newer = p->newer;
	else
		c->oldest = p->newer;
}

static void order_in(struct page_cache *c, struct page *p)
{
	p->newer = NULL;
	p->older = c->newest;
	if (c->newest)
		c->newest->newer = p;
	else
		c->oldest = p;
	c->newest = p;
}

static struct page **slot_of(struct page_cache *c, uint64_t hash, const char *key, size_t len)
{
	struct page **at = &c->buckets[hash % BUCKETS];

	while (*at && ((*at)->hash != hash || (*at)->key_len != len || memcmp((*at)->key, key, len) != 0))
		at = &(*at)->next;
	return at;
}

static void drop(struct page_cache *c, struct page *p)
{
	struct page **at = &c->buckets[p->hash % BUCKETS];

	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	order_out(c, p);
	c->bytes -= p->size + OVERHEAD + p->key_len;
	page_unref(p);
}

static bool etag_matches(struct req *r, const char *etag)
{
	const char *given = req_header(r, "If-None-Match");

	return given && strstr(given, etag) != NULL;
}

bool reply_cached(struct req *r, uint64_t generation)
{
	struct life *l = life_of(r);
	struct page_cache *c = l->web->cache;
	size_t len;
	const char *key = key_of(l, generation, &len);

	if (!key || l->n_added || l->replied)
		return false;
	uint64_t hash = hash_of(key, len);
	pthread_mutex_lock(&c->lock);
	struct page *p = *slot_of(c, hash, key, len);
	if (p) {
		atomic_fetch_add(&p->refs, 1);
		order_out(c, p);
		order_in(c, p);
	}
	pthread_mutex_unlock(&c->lock);
	if (!p)
		return false;
	bool same = etag_matches(r, p->etag);
	reply_bare(l, same ? 304 : 200, NULL, same ? 0 : p->size);
	l->page = p;
	l->page_same = same;
	return true;
}

void reply_cache_put(struct req *r, uint64_t generation)
{
	struct life *l = life_of(r);

	size_t len;

	l->cache_wanted = key_of(l, generation, &len) != NULL;
}

/* The same headers on 304, without those of a body. */
static enum MHD_Result copy_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
	(void)kind;
	if (strcmp(name, "Content-Type") == 0)
		return MHD_YES;
	return MHD_add_response_header(cls, name, value);
}

void page_cache_put(struct life *l, struct MHD_Response *response, uint64_t size, const char *etag)
{
	struct page_cache *c = l->web->cache;
	const char *key = l->cache_key;
	size_t len = l->cache_key_len;
	bool keep = size <= c->limit / 4;
	struct page *p = mem_alloc(sizeof(*p) + len);

	p->response = response;
	p->same = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	if (p->same)
		MHD_get_response_headers(response, copy_header, p->same);
	else
		keep = false;
	snprintf(p->etag, sizeof(p->etag), "%s", etag);
	p->size = size;
	p->key_len = len;
	memcpy(p->key, key, len);
	p->hash = hash_of(key, len);
	atomic_init(&p->refs, 1);
	l->page = p;
	l->page_same = p->same && etag_matches(&l->r, etag);
	if (l->page_same)
		l->status = 304;
	if (!keep)
		return;
	atomic_fetch_add(&p->refs, 1);
	pthread_mutex_lock(&c->lock);
	struct page *old = *slot_of(c, p->hash, key, len);
	if (old)
		drop(c, old);
	struct page **at = slot_of(c, p->hash, key, len);
	*at = p;
	order_in(c, p);
	c->bytes += size + OVERHEAD + len;
	while (c->bytes > c->limit && c->oldest != p)
		drop(c, c->oldest);
	pthread_mutex_unlock(&c->lock);
}
