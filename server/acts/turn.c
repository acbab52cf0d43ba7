#include "acts/turn.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "acts/internal.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "base/log.h"
#include "base/weaken.h"

#define TURN_WATCHED (20 * CLOCK_SECOND) /* how long the same old heartbeat is looked at: the database's clock may jump */
#define FOLLOW_PAUSE (30 * CLOCK_SECOND) /* all states are read again */
#define HOST_LIMIT 64

struct seen {
	char site[80], process[NAMED_PROCESS_LIMIT + 1];
	int64_t seen_at; /* the heartbeat */
	int64_t since; /* boot clock: first seen like that */
};

struct turns {
	struct sha256 place;
	bool alone, hurry;
	char host[HOST_LIMIT + 1];
	pthread_mutex_t saying; /* around what is written into the table: a beat would undo a stop */
	bool stopped;
	pthread_mutex_t lock; /* around the rest */
	int64_t sure_at; /* boot clock */
	struct seen *list;
	size_t n, cap;
};

/* --- this server ----------------------------------------------------------------------------------------------------- */

/*
 * A file of this file system, on this kernel since its start: who has that file's lock knows that nobody else had it. A
 * copied directory has another file, and another machine another kernel.
 */
static enum err find_place(struct turns *t, int lock)
{
	struct buf text = BUF_INIT(4096);
	struct stat st;
	enum err e = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", &text);

	if (!e && fstat(lock, &st))
		e = err_sys(ERR_FAILED, "the lock of the data directory");
	if (!e) {
		buf_fmt(&text, " %llu %llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
		sha256_of(&t->place, buf_text(&text), text.len);
	}
	buf_release(&text);
	return e;
}

enum err turns_new(struct turns **out, int lock, bool alone)
{
	struct turns *t = mem_alloc(sizeof *t);
	enum err e = ERR_OK;

	t->alone = alone;
	t->sure_at = clock_boot();
	pthread_mutex_init(&t->lock, NULL);
	pthread_mutex_init(&t->saying, NULL);
	if (gethostname(t->host, HOST_LIMIT))
		snprintf(t->host, sizeof t->host, "server");
	t->host[strspn(t->host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] = '\0';
	/* Its own database goes with the data directory wherever that is taken. */
	if (!alone)
		e = find_place(t, lock);
	if (e) {
		turns_free(t);
		return e;
	}
	*out = t;
	return ERR_OK;
}

void turns_free(struct turns *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	pthread_mutex_destroy(&t->saying);
	free(t->list);
	free(t);
}

void turns_hurry(struct turns *t)
{
	t->hurry = true;
}

bool turns_alone(const struct turns *t)
{
	return t->alone;
}

static void sure(struct turns *t)
{
	pthread_mutex_lock(&t->lock);
	t->sure_at = clock_boot();
	pthread_mutex_unlock(&t->lock);
}

enum err turns_beat(struct turns *t, struct db *db)
{
	const int64_t before = clock_boot();
	enum err e;
	bool stopped;

	pthread_mutex_lock(&t->saying);
	stopped = t->stopped;
	e = stopped ? ERR_OK : db_publisher_beat(db, &t->place);
	pthread_mutex_unlock(&t->saying);
	if (e || stopped)
		return e;
	pthread_mutex_lock(&t->lock);
	t->sure_at = before;
	pthread_mutex_unlock(&t->lock);
	return ERR_OK;
}

bool turns_unsure(struct turns *t)
{
	bool unsure;

	pthread_mutex_lock(&t->lock);
	unsure = !t->alone && clock_boot() - t->sure_at > TURN_UNSURE;
	pthread_mutex_unlock(&t->lock);
	return unsure;
}

void turns_hush(struct turns *t)
{
	pthread_mutex_lock(&t->saying);
	t->stopped = true;
	pthread_mutex_unlock(&t->saying);
}

void turns_stop(struct turns *t, struct db *db)
{
	pthread_mutex_lock(&t->saying);
	t->stopped = true;
	if (db_publisher_stop(db, &t->place))
		log_event(LOG_LEVEL_WARN, "turn.stop", "why", err_text(), NULL);
	pthread_mutex_unlock(&t->saying);
}

enum err turns_nobody_else(const struct turns *t, struct db *db)
{
	char process[NAMED_PROCESS_LIMIT + 1];
	struct db_publisher p;
	enum err e = t->alone ? ERR_NOT_FOUND : db_publisher_newest(db, &t->place, process, &p);

	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	if (!p.seen_at || p.now - p.seen_at >= TURN_OVERDUE)
		return ERR_OK;
	return err_set(ERR_BUSY, "the server %s uses this database too, and was heard of %lld s ago: stop it first; if it was killed, wait for a minute", process,
	    (long long)((p.now - p.seen_at) / CLOCK_SECOND));
}

/* --- the others ------------------------------------------------------------------------------------------------------ */

/* The entry of a server, made if there is none. With the lock held. */
static struct seen *seen_of(struct turns *t, const char *site, const char *process)
{
	struct seen *s;

	for (size_t i = 0; i < t->n; i++)
		if (!strcmp(t->list[i].site, site) && !strcmp(t->list[i].process, process))
			return &t->list[i];
	t->list = mem_grow(t->list, &t->cap, t->n + 1, sizeof *t->list);
	s = &t->list[t->n++];
	*s = (struct seen){ .seen_at = -1 };
	snprintf(s->site, sizeof s->site, "%s", site);
	snprintf(s->process, sizeof s->process, "%s", process);
	return s;
}

/*
 * Not heard of for too long? The database's clock says how old the heartbeat is, and may jump; so it has to have stood
 * still for a while by a clock that does not, which alone is enough if it was for long enough.
 */
static bool overdue(struct turns *t, const char *site, const char *process, const struct db_publisher *p)
{
	const int64_t now = clock_boot();
	struct seen *s;
	int64_t still;

	if (!p->seen_at)
		return true;
	pthread_mutex_lock(&t->lock);
	s = seen_of(t, site, process);
	if (s->seen_at != p->seen_at) {
		s->seen_at = p->seen_at;
		s->since = now;
	}
	still = now - s->since;
	pthread_mutex_unlock(&t->lock);
	return still >= TURN_OVERDUE || ((still >= TURN_WATCHED || t->hurry) && p->now - p->seen_at >= TURN_OVERDUE);
}

static void queue_name(const struct site *s, char out[NAMED_ID_LIMIT + 1])
{
	snprintf(out, NAMED_ID_LIMIT + 1, PUBLISHER_QUEUE "%s", s->name);
}

static enum err queue_get(const struct site *s, struct db *db, struct named *q)
{
	const struct named_store store = db_named(db);
	char id[NAMED_ID_LIMIT + 1];
	enum err e;

	queue_name(s, id);
	e = named_get(&store, NAMED_QUEUE, id, q);
	if (e != ERR_NOT_FOUND)
		return e;
	*q = (struct named){ .kind = NAMED_QUEUE };
	return ERR_OK;
}

static enum err look_at(struct site *s, struct db *db, const struct named *q, enum turn *out)
{
	const size_t place = named_position(q, s->server);

	*out = place == 0 ? TURN_LOST : place == 1 ? TURN_MINE : TURN_DUE;
	for (size_t i = 0; i + 1 < place && *out == TURN_DUE; i++) {
		struct db_publisher p;
		enum err e = db_publisher_get(db, s->name, q->members[i].process, &p);

		if (e && e != ERR_NOT_FOUND)
			return e;
		if (!e && !overdue(s->turns, s->name, q->members[i].process, &p))
			*out = TURN_WAITS;
	}
	return ERR_OK;
}

/* Who takes over goes on from the newest record. */
static enum err has_head(struct site *s, struct actor_tools *t, bool *has)
{
	struct db_head head;
	struct repo *repo;
	enum err e = tools_repo(t, s, &repo);

	if (!e)
		e = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);
	if (e)
		return e;
	repo_refresh(repo);
	*has = !head.seq || repo_has(repo, &head.commit);
	return ERR_OK;
}

static void wait_because(struct site *s, const char *why)
{
	s->waits = true;
	snprintf(s->read_only_reason, sizeof s->read_only_reason, "%s", why);
	s->read_only = true;
}

static const char lacks[] = "the server that wrote it is gone, and its newest record is not in the repository here: `sites` in the data "
	"directories of servers that stand in for one another lies on storage that they share.";

enum err turn_look(struct site *s, struct actor_tools *t, enum turn *out)
{
	struct named q;
	bool has = true;
	enum err e = queue_get(s, tools_db(t), &q);

	if (e)
		return e;
	atomic_store(&s->servers, (unsigned)q.n);
	e = look_at(s, tools_db(t), &q, out);
	named_release(&q);
	/* Of one that runs: why is in read_only_reason. */
	if (!e && *out == TURN_DUE && !site_key_signs(s))
		*out = TURN_WAITS;
	if (!e && *out == TURN_DUE)
		e = has_head(s, t, &has);
	if (!e && !has)
		*out = TURN_WAITS;
	if (!e && !has && strcmp(s->read_only_reason, lacks)) {
		wait_because(s, lacks);
		log_event(LOG_LEVEL_ERROR, "turn.behind", "site", s->name, "why", lacks, NULL);
	}
	return e;
}

enum err turn_follow(struct site *s, struct actor_tools *t)
{
	struct rules *rules;
	struct db_site row;
	struct db_head head;
	struct repo *repo;
	bool has;
	enum err e = has_head(s, t, &has);

	/* Rights are held against the log, and a copy that stayed behind cannot tell. */
	if (e || !has)
		return e;
	e = db_site_get(tools_db(t), s->name, &row);
	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	e = tools_repo(t, s, &repo);
	if (!e)
		e = site_rules_at(s, tools_db(t), repo, row.rules_version, &rules);
	if (e)
		return e;
	rules_unref(rules);
	e = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);
	if (e || !s->catalog || head.seq == s->followed || (s->followed && clock_boot() - s->followed_at < FOLLOW_PAUSE))
		return e;
	pthread_mutex_lock(&s->writer);
	e = site_load_states(s, tools_db(t));
	if (!e)
		e = site_load_preapprovals(s, tools_db(t));
	pthread_mutex_unlock(&s->writer);
	if (!e) {
		s->followed = head.seq;
		s->followed_at = clock_boot();
		atomic_fetch_add(&s->generation, 1);
	}
	return e;
}

void turn_lose(struct site *s)
{
	if (!s->read_only)
		snprintf(s->read_only_reason, sizeof s->read_only_reason, "another server has taken over, since this one was not heard of for too long.");
	s->read_only = true;
	atomic_store(&s->turn_lost, true);
}

enum err turn_check(struct site *s, struct db *db)
{
	enum err e = s->turns ? db_publisher_touch(db, s->name, s->server) : ERR_OK;

	if (e == ERR_NOT_FOUND && WEAK(turn_run))
		return ERR_OK;
	if (e != ERR_NOT_FOUND)
		return e;
	atomic_store(&s->turn_lost, true);
	return err_set(ERR_BUSY, "Another server has taken over %s, since this one was not heard of for too long.", s->name);
}

enum err turn_sure(struct site *s, struct db *db)
{
	if (!s->turns || s->turns->alone)
		return ERR_OK;
	if (atomic_load(&s->turn_lost) || turns_unsure(s->turns))
		return turn_check(s, db);
	return ERR_OK;
}

bool turn_shared(const struct site *s)
{
	return s->waits || atomic_load(&s->servers) > 1;
}

enum err turn_list(const struct site *s, struct db *db, struct turn_member **out, size_t *n, struct arena *a)
{
	struct named q;
	enum err e = queue_get(s, db, &q);

	*n = 0;
	if (e)
		return e;
	*out = arena_alloc(a, (q.n + 1) * sizeof **out);
	for (size_t i = 0; i < q.n && !e; i++) {
		struct turn_member *m = &(*out)[*n];
		struct db_publisher p;

		e = db_publisher_get(db, s->name, q.members[i].process, &p);
		*m = (struct turn_member){ .ticket = q.members[i].ticket, .seen_us = !e && p.seen_at ? p.now - p.seen_at : -1,
			.me = !strcmp(q.members[i].process, s->server) };
		memcpy(m->process, q.members[i].process, sizeof m->process);
		if (m->seen_us < 0 && !e && p.seen_at)
			m->seen_us = 0;
		++*n;
		if (e == ERR_NOT_FOUND)
			e = ERR_OK;
	}
	named_release(&q);
	return e;
}

/* --- taking over ----------------------------------------------------------------------------------------------------- */

/* Everybody before it in the queue goes. In a transaction: the queue is as it was looked at, or ERR_STALE. */
static enum err remove_others(struct site *s, struct db *db, json_t *names)
{
	const struct named_store store = db_named(db);
	char id[NAMED_ID_LIMIT + 1];
	struct named q, left;
	enum turn now;
	enum err e;

	queue_name(s, id);
	e = named_get(&store, NAMED_QUEUE, id, &q);
	if (e)
		return e;
	e = look_at(s, db, &q, &now);
	if (!e && now != TURN_DUE)
		e = err_set(ERR_STALE, "It is not the turn of this server.");
	for (size_t i = 0; !e && strcmp(q.members[i].process, s->server) != 0; i++) {
		struct db_publisher p;
		char seen[CLOCK_TEXT_SIZE] = "stopped", line[NAMED_PROCESS_LIMIT + CLOCK_TEXT_SIZE + 32];

		/* Who is not there is nobody; who was, and is not as he was, has come back, after a stop as well. */
		e = db_publisher_get(db, s->name, q.members[i].process, &p);
		if (e == ERR_NOT_FOUND)
			e = ERR_OK;
		else if (!e && (e = db_publisher_remove(db, s->name, q.members[i].process, p.seen_at)) == ERR_NOT_FOUND)
			e = err_set(ERR_STALE, "It was heard of again.");
		if (!e)
			e = named_leave(&store, id, q.members[i].process, &left);
		if (e)
			break;
		named_release(&left);
		if (p.seen_at)
			clock_text(p.seen_at, seen);
		snprintf(line, sizeof line, "%llu %s %s", (unsigned long long)q.members[i].ticket, q.members[i].process, seen);
		json_array_append_new(names, json_string(line));
		FAILPOINT_OR(e, turn_removed);
	}
	named_release(&q);
	return e;
}

static enum err take_check(struct decision *d, void *arg)
{
	(void)arg;
	json_t *names = json_array();
	enum err e = remove_others(d->s, d->db, names);

	d->fields = json_object();
	json_object_set_new(d->fields, "server", json_string(d->s->server));
	json_object_set_new(d->fields, "ticket", json_integer((json_int_t)d->s->term));
	/* "TICKET SERVER LAST-HEARD-OF" */
	json_object_set_new(d->fields, "removed", names);
	return e;
}

/*
 * Without a record: before there is a log there is nothing to record it in, and while the key is being changed none may come
 * before the one that says so.
 */
static enum err take_quietly(struct db *db, void *arg)
{
	json_t *names = json_array();
	enum err e = remove_others(arg, db, names);

	json_decref(names);
	return e;
}

static enum err take(struct site *s, struct actor_tools *t)
{
	struct act_request rq = { .note = "" };
	struct decision d = { .s = s, .t = t, .rq = &rq, .act = "turn", .shown = "", .takes_turn = true, .check = take_check };
	struct act_answer answer;
	struct db_head head;
	struct request r;
	enum err e = db_head_get(tools_db(t), s->name, node_key_id(s->key), &head);

	/* With a key that was replaced it would be damage for good. */
	if (!e && head.seq)
		e = site_load_keys(s, tools_db(t));
	if (!e && s->read_only)
		e = err_set(ERR_BUSY, "%s", s->read_only_reason);
	if (e)
		return e;
	if (!head.seq || node_key_next(s->key))
		return tx_run(tools_db(t), take_quietly, s, NULL);
	uuid_new(&rq.op);
	request_begin(&r, "turn");
	request_text(&r, s->server);
	request_end(&r, &d.request);
	return decide(&d, &answer);
}

/* --- joining --------------------------------------------------------------------------------------------------------- */

/* The key decides who may write; two that are not the same have nothing to share. */
static enum err check_writer(const struct site *s, struct db *db)
{
	struct db_site row;
	enum err e = db_site_get(db, s->name, &row);

	if (e)
		return e == ERR_NOT_FOUND ? ERR_OK : e;
	if (strcmp(row.writer, node_key_id(s->key)))
		return err_set(ERR_BUSY, "this database belongs to another installation: %s is written with the key of node %s, and the key here is "
		    "another. Servers that stand in for one another have the same node.key; others have a database each", s->name, row.writer);
	return ERR_OK;
}

/* The last term that was given away for certain, whatever the queue says: it may have been lost with the database. */
static enum err last_term(struct site *s, struct actor_tools *t, uint64_t *out)
{
	struct arena *a = arena_new();
	struct release_papers papers;
	struct db_release rel;
	struct caught caught;
	enum err e = db_release_get(tools_db(t), s->name, 0, &rel, a);

	*out = 0;
	if (!e)
		e = release_papers(s, t, &rel, &papers, a);
	if (!e && papers.has_head)
		*out = papers.head.term;
	if (e == ERR_NOT_FOUND)
		e = ERR_OK;
	if (!e)
		e = caught_up(tools_db(t), s, 0, &caught, a);
	if (!e && caught.term > *out)
		*out = caught.term;
	arena_free(a);
	return e;
}

/* Nobody: a server is in the table before it is in the queue. They came with an old copy of the database. */
static enum err drop_nobodies(struct site *s, struct db *db)
{
	const struct named_store store = db_named(db);
	char id[NAMED_ID_LIMIT + 1];
	struct named q, left;
	enum err e;

	queue_name(s, id);
	e = queue_get(s, db, &q);
	if (e)
		return e;
	for (size_t i = 0; i < q.n && !e; i++) {
		struct db_publisher p;

		if (!strcmp(q.members[i].process, s->server))
			continue;
		e = db_publisher_get(db, s->name, q.members[i].process, &p);
		if (!e && s->turns->alone)
			e = db_publisher_remove(db, s->name, q.members[i].process, p.seen_at);
		else if (e == ERR_OK)
			continue;
		if (!e || e == ERR_NOT_FOUND)
			e = named_leave(&store, id, q.members[i].process, &left);
		if (!e)
			named_release(&left);
	}
	named_release(&q);
	return e;
}

static enum err say_here(struct site *s, struct db *db)
{
	struct turns *t = s->turns;
	enum err e;

	pthread_mutex_lock(&t->saying);
	t->stopped = false;
	e = db_publisher_put(db, s->name, s->server, &t->place);
	pthread_mutex_unlock(&t->saying);
	return e;
}

static enum err join_queue(struct site *s, struct actor_tools *t)
{
	const struct named_store store = db_named(tools_db(t));
	char id[NAMED_ID_LIMIT + 1], hex[17];
	uint8_t random[8];
	struct named q;
	uint64_t term;
	enum err e = db_publisher_of_place(tools_db(t), s->name, &s->turns->place, s->server);

	if (e == ERR_NOT_FOUND) {
		random_bytes(random, sizeof random);
		hex_of(hex, random, sizeof random);
		snprintf(s->server, sizeof s->server, "%s:%s", s->turns->host, hex);
		e = ERR_OK;
	}
	if (!e)
		e = say_here(s, tools_db(t));
	FAILPOINT_OR(e, turn_placed);
	if (!e)
		e = last_term(s, t, &term);
	queue_name(s, id);
	if (!e)
		e = named_join_above(&store, id, s->server, term, &q);
	/* A ticket that the releases have passed meanwhile is worth nothing to who does not have the turn yet. */
	if (!e && named_position(&q, s->server) > 1 && q.members[named_position(&q, s->server) - 1].ticket <= term) {
		named_release(&q);
		e = named_leave(&store, id, s->server, &q);
		if (!e) {
			named_release(&q);
			e = named_join_above(&store, id, s->server, term, &q);
		}
	}
	FAILPOINT_OR(e, turn_joined);
	if (e)
		return e;
	s->term = q.members[named_position(&q, s->server) - 1].ticket;
	named_release(&q);
	sure(s->turns);
	return drop_nobodies(s, tools_db(t));
}

enum err turn_enter(struct site *s, struct actor_tools *t)
{
	enum turn now;
	enum err e;

	if (!s->turns)
		return ERR_OK;
	e = check_writer(s, tools_db(t));
	if (!e)
		e = join_queue(s, t);
	if (!e)
		e = turn_look(s, t, &now);
	if (!e && now == TURN_DUE) {
		e = take(s, t);
		now = e ? TURN_WAITS : TURN_MINE;
		if (!e)
			log_event(LOG_LEVEL_WARN, "turn.taken", "site", s->name, "server", s->server, "term", log_u64(s->term), NULL);
		/* Somebody came back in that moment; or it has not got the right key, and only shows what there is. */
		e = e == ERR_STALE || (s->read_only && !s->turns->hurry) ? ERR_OK : e;
	}
	FAILPOINT_OR(e, turn_entered);
	if (!e && now != TURN_MINE && s->read_only)
		s->waits = true;
	else if (!e && now != TURN_MINE)
		wait_because(s, "another server has the turn to write and to publish it; this one takes over when that is not heard of for a minute.");
	return e;
}
