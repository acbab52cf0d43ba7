/*
 * stream: server-sent events.
 *
 * A stream that has nothing to send is suspended. Only a suspended stream is given to a worker, and it stays suspended
 * until the worker is done: so libmicrohttpd cannot close a connection under a worker. One thread looks for changes
 * four times a second while there are streams, and sleeps when there are none.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "web/life.h"

#define LOOK (CLOCK_SECOND / 4)
#define HEARTBEAT (15 * CLOCK_SECOND)
#define PENDING_LIMIT (1u << 20)
#define STREAMS_LIMIT 256 /* and never more than half of the connections */
#define STREAMS_OF_ONE 32 /* of one person: pages that follow something, in as many windows */

struct stream {
	struct stream *prev, *next;
	struct streams *all;
	struct life *l;
	const char *user;
	stream_fn *fn;
	uint64_t (*mark)(void *state); /* NULL: only what its site shows */
	uint64_t marked; /* what it said last; of the looking thread */
	void *state;
	uint64_t seen; /* of its site, when next() was called last */
	bool changed; /* told by the looking thread, for the worker */
	pthread_mutex_t lock; /* around what follows */
	struct buf pending;
	size_t taken; /* bytes of pending that are sent */
	bool waiting, busy, ended;
	int64_t sent_at;
};

struct watched {
	uint64_t marks[3]; /* acts, catalog, sync: as seen last */
	uint64_t version; /* rises with each difference */
	bool wanted;
};

struct streams {
	struct web *web;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t some;
	struct stream *first;
	size_t n;
	bool stopping;
	struct watched *sites; /* one for each of web->sites, then one for none */
};

static struct watched *watched_of(struct streams *s, const struct site *site)
{
	for (size_t i = 0; i < s->web->o.n_sites; i++)
		if (s->web->sites[i].site == site)
			return &s->sites[i];
	return &s->sites[s->web->o.n_sites];
}

static void look_at(struct streams *s, size_t i)
{
	struct web_site *w = &s->web->sites[i];
	struct watched *x = &s->sites[i];
	uint64_t now[3] = { atomic_load(&w->site->generation), w->site->catalog ? catalog_generation(w->site->catalog, path_root()) : 0, x->marks[2] };

	if (w->sync)
		sync_wait(w->sync, &now[2], 0);
	if (memcmp(now, x->marks, sizeof(now)) != 0) {
		memcpy(x->marks, now, sizeof(now));
		x->version++;
	}
}

/* Browsers take a stream up again by themselves: no connection is for ever. */
static bool too_old(const struct stream *s, int64_t now)
{
	return now - s->l->begun >= s->all->web->o.conf->stream_deadline_us;
}

/* --- on a worker --------------------------------------------------------------------------------------------------- */

/* Ask again who he is and what he may; then what is new. Returns false if the stream is over. */
static bool ask(struct stream *s, struct buf *out, bool first)
{
	struct life *l = s->l;
	struct arena *keep = l->r.arena;
	bool end = false;
	enum err e = ERR_OK;

	if (!first) {
		e = request_person(l);
		if (!e && !(l->r.route->needs & NEED_NO_SESSION))
			e = l->r.person ? request_rights(l) : ERR_DENIED;
	}
	if (!e && s->changed) {
		l->r.arena = arena_new();
		e = s->fn(&l->r, s->state, out, &end);
		arena_free(l->r.arena);
		l->r.arena = keep;
	}
	if (!e && buf_check(out))
		e = ERR_TOO_BIG;
	if (e)
		log_event(LOG_LEVEL_INFO, "http.stream", "id", l->id, "code", err_name(e), "text", err_text(), NULL);
	return !e && !end;
}

static void work(void *s_, void *tools)
{
	struct stream *s = s_;
	struct web *w = s->all->web;
	struct buf out = BUF_INIT(PENDING_LIMIT);

	log_request_set(s->l->id);
	s->l->r.tools = tools;
	bool on = ask(s, &out, false) && !too_old(s, clock_boot());
	s->l->r.tools = NULL;
	log_request_set("");
	pthread_mutex_lock(&s->lock);
	if (on && out.len == 0 && clock_boot() - s->sent_at >= HEARTBEAT)
		buf_str(&out, ": still here\n\n");
	buf_add(&s->pending, out.p, out.len);
	if (out.len)
		s->sent_at = clock_boot();
	if (!on)
		s->ended = true;
	s->busy = false;
	pthread_mutex_lock(&w->lock);
	bool stopping = w->stopping;
	pthread_mutex_unlock(&w->lock);
	if (stopping)
		s->ended = true;
	if (s->pending.len || s->ended) {
		s->waiting = false;
		conn_phase(s->l->conn, PHASE_STREAM, STREAM_PATIENCE);
		life_resume(w, s->l->mhd);
	}
	/* From the resume on the stream may only be freed after this lock is given back: stream_done() takes it. */
	pthread_mutex_unlock(&s->lock);
	buf_release(&out);
}

/* --- the looking thread -------------------------------------------------------------------------------------------- */

static void give_work(struct streams *all, struct stream *s, int64_t now)
{
	const struct watched *x = watched_of(all, s->l->r.site);
	const uint64_t mark = s->mark ? s->mark(s->state) : 0;

	pthread_mutex_lock(&s->lock);
	bool changed = s->seen != x->version || s->marked != mark;
	if (s->waiting && !s->busy && !s->ended && (changed || now - s->sent_at >= HEARTBEAT || too_old(s, now))) {
		uint64_t before = s->seen, marked_before = s->marked;
		s->changed = changed;
		s->seen = x->version;
		s->marked = mark;
		s->busy = true;
		if (pool_add(all->web->pool, (struct pool_job){ work, s })) {
			s->busy = false; /* a busy server: the next look tries again */
			s->seen = before;
			s->marked = marked_before;
		}
	}
	pthread_mutex_unlock(&s->lock);
}

static void *look(void *s_)
{
	struct streams *s = s_;

	pthread_setname_np(pthread_self(), "streams");
	pthread_mutex_lock(&s->lock);
	while (!s->stopping) {
		if (!s->first) {
			pthread_cond_wait(&s->some, &s->lock);
			continue;
		}
		struct timespec until;
		clock_deadline(LOOK, &until);
		while (!s->stopping && pthread_cond_timedwait(&s->some, &s->lock, &until) == 0)
			;
		if (s->stopping)
			break;
		for (size_t i = 0; i < s->web->o.n_sites; i++)
			s->sites[i].wanted = false;
		for (struct stream *x = s->first; x; x = x->next)
			watched_of(s, x->l->r.site)->wanted = true;
		for (size_t i = 0; i < s->web->o.n_sites; i++)
			if (s->sites[i].wanted)
				look_at(s, i);
		int64_t now = clock_boot();
		for (struct stream *x = s->first; x; x = x->next)
			give_work(s, x, now);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

struct streams *streams_new(struct web *w)
{
	struct streams *s = mem_alloc(sizeof(*s));

	s->web = w;
	s->sites = mem_array(w->o.n_sites + 1, sizeof(*s->sites));
	pthread_mutex_init(&s->lock, NULL);
	clock_cond_init(&s->some);
	if (pthread_create(&s->thread, NULL, look, s)) {
		log_event(LOG_LEVEL_ERROR, "web.thread", "text", "cannot make the thread of the streams", NULL);
		abort();
	}
	return s;
}

void streams_stop(struct streams *s)
{
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_signal(&s->some);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_mutex_lock(&s->lock);
	for (struct stream *x = s->first; x; x = x->next) {
		pthread_mutex_lock(&x->lock);
		x->ended = true;
		if (x->waiting && !x->busy) {
			x->waiting = false;
			life_resume(s->web, x->l->mhd);
		}
		pthread_mutex_unlock(&x->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

void streams_free(struct streams *s)
{
	if (!s)
		return;
	pthread_cond_destroy(&s->some);
	pthread_mutex_destroy(&s->lock);
	free(s->sites);
	free(s);
}

size_t streams_count(struct streams *s)
{
	pthread_mutex_lock(&s->lock);
	size_t n = s->n;
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* --- on the network thread ----------------------------------------------------------------------------------------- */

static ssize_t read_stream(void *s_, uint64_t pos, char *to, size_t max)
{
	struct stream *s = s_;
	ssize_t n = 0;

	(void)pos;
	pthread_mutex_lock(&s->lock);
	size_t left = s->pending.len - s->taken;
	if (left) {
		n = (ssize_t)(left < max ? left : max);
		memcpy(to, s->pending.p + s->taken, (size_t)n);
		s->taken += (size_t)n;
		if (s->taken == s->pending.len) {
			buf_reset(&s->pending);
			s->taken = 0;
		}
	} else if (s->ended || !life_suspend(s->all->web, s->l->mhd)) {
		n = MHD_CONTENT_READER_END_OF_STREAM;
	} else {
		s->waiting = true;
		conn_phase(s->l->conn, PHASE_STREAM, 0);
	}
	pthread_mutex_unlock(&s->lock);
	return n;
}

void stream_done(struct life *l)
{
	struct stream *s = l->stream;
	struct streams *all = s->all;

	pthread_mutex_lock(&all->lock);
	if (s->prev)
		s->prev->next = s->next;
	else
		all->first = s->next;
	if (s->next)
		s->next->prev = s->prev;
	all->n--;
	pthread_mutex_unlock(&all->lock);
	/* A worker that has just resumed it may still hold the lock. */
	pthread_mutex_lock(&s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_destroy(&s->lock);
	buf_release(&s->pending);
	free(s);
	l->stream = NULL;
}

enum err reply_stream(struct req *r, stream_fn *next, void *state)
{
	return reply_stream_marked(r, next, NULL, state);
}

enum err reply_stream_marked(struct req *r, stream_fn *next, uint64_t (*mark)(void *state), void *state)
{
	struct life *l = life_of(r);
	struct streams *all = r->web->streams;
	struct stream *s;

	if (l->replied || !l->conn)
		return err_set(ERR_FAILED, "a stream after a reply");
	if (r->head) {
		struct buf none = BUF_INIT(1);
		return reply_bytes(r, 200, "text/event-stream", &none, NULL);
	}
	s = mem_alloc(sizeof(*s));
	s->all = all;
	s->l = l;
	s->user = arena_dup(r->arena, r->person ? r->person->who.user : "");
	s->fn = next;
	s->state = state;
	s->mark = mark;
	s->marked = mark ? mark(state) : 0;
	s->pending = BUF_INIT(PENDING_LIMIT);
	pthread_mutex_init(&s->lock, NULL);
	/* The first answer is made here and now: the version is read first, so that nothing is missed. */
	pthread_mutex_lock(&all->lock);
	size_t of_one = 0, limit = r->web->o.conf->connections / 2;
	for (struct stream *x = all->first; x; x = x->next)
		of_one += strcmp(x->user, s->user) == 0;
	bool room = all->n < (limit < STREAMS_LIMIT ? limit : STREAMS_LIMIT) && of_one < STREAMS_OF_ONE && !all->stopping;
	if (room) {
		size_t i = (size_t)(watched_of(all, r->site) - all->sites);
		if (i < all->web->o.n_sites)
			look_at(all, i);
		s->seen = all->sites[i].version;
	}
	pthread_mutex_unlock(&all->lock);
	s->changed = true;
	if (room)
		buf_str(&s->pending, "retry: 3000\n\n");
	/* What is over already is told all the same, and ends. */
	s->ended = room && !ask(s, &s->pending, true);
	s->sent_at = clock_boot();
	struct MHD_Response *m = room && !buf_check(&s->pending) ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, s, NULL) : NULL;
	if (!m) {
		pthread_mutex_destroy(&s->lock);
		buf_release(&s->pending);
		free(s);
		return err_set(ERR_BUSY, "Too many pages are being followed at once. Try again in a moment.");
	}
	MHD_add_response_header(m, "Content-Type", "text/event-stream");
	MHD_add_response_header(m, "X-Accel-Buffering", "no");
	l->stream = s;
	reply_raw(l, 200, m, 0, NULL);
	pthread_mutex_lock(&all->lock);
	s->next = all->first;
	if (all->first)
		all->first->prev = s;
	else
		pthread_cond_signal(&all->some);
	all->first = s;
	all->n++;
	pthread_mutex_unlock(&all->lock);
	return ERR_OK;
}
