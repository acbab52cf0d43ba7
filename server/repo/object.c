#include <stdlib.h>
#include <string.h>

#include "repo/internal.h"

/* --- what was published lately ------------------------------------------------------------------------------------ */

#define RECENT_SLOTS 8192 /* ring: the oldest leaves first */
#define RECENT_BUCKETS 4096
#define RECENT_BYTES (32 * 1024 * 1024)

struct slot {
	struct recent *object;
	struct repo_tag tag;
	int next; /* in the bucket; -1: last */
};

static struct {
	pthread_mutex_t lock;
	struct slot slots[RECENT_SLOTS];
	int buckets[RECENT_BUCKETS]; /* slot + 1; 0: none */
	unsigned first, used;
	size_t bytes;
} recents = { .lock = PTHREAD_MUTEX_INITIALIZER };

static unsigned bucket_of(const struct blob_id *id)
{
	return ((unsigned)id->b[0] << 8 | id->b[1]) % RECENT_BUCKETS;
}

static bool tag_equal(const struct repo_tag *a, const struct repo_tag *b)
{
	return a->dev == b->dev && a->ino == b->ino && strcmp(a->id, b->id) == 0;
}

struct recent *recent_new(const struct blob_id *id, git_object_t type, const void *p, size_t n)
{
	struct recent *o = mem_alloc(sizeof(*o) + n);

	o->refs = 1;
	o->id = *id;
	o->type = type;
	o->n = n;
	if (n > 0)
		memcpy(o->bytes, p, n);
	return o;
}

void recent_ref(struct recent *o)
{
	__atomic_add_fetch(&o->refs, 1, __ATOMIC_RELAXED);
}

void recent_unref(struct recent *o)
{
	if (o && __atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(o);
}

/* With the lock held. */
static void drop_oldest(void)
{
	unsigned i = recents.first;
	struct slot *s = &recents.slots[i];
	int *link = &recents.buckets[bucket_of(&s->object->id)];

	while (*link != (int)i + 1)
		link = &recents.slots[*link - 1].next;
	*link = s->next;
	recents.bytes -= s->object->n;
	recent_unref(s->object);
	s->object = NULL;
	recents.first = (i + 1) % RECENT_SLOTS;
	recents.used--;
}

static struct recent *find_locked(const struct repo_tag *tag, const struct blob_id *id)
{
	for (int i = recents.buckets[bucket_of(id)]; i != 0; i = recents.slots[i - 1].next) {
		struct slot *s = &recents.slots[i - 1];
		if (blob_id_equal(&s->object->id, id) && tag_equal(&s->tag, tag))
			return s->object;
	}
	return NULL;
}

void recent_publish(const struct repo_tag *tag, struct recent *o)
{
	unsigned i, b = bucket_of(&o->id);

	pthread_mutex_lock(&recents.lock);
	if (find_locked(tag, &o->id)) {
		pthread_mutex_unlock(&recents.lock);
		recent_unref(o);
		return;
	}
	while (recents.used > 0 && (recents.used == RECENT_SLOTS || recents.bytes + o->n > RECENT_BYTES))
		drop_oldest();
	i = (recents.first + recents.used) % RECENT_SLOTS;
	recents.slots[i] = (struct slot){ .object = o, .tag = *tag, .next = recents.buckets[b] };
	recents.buckets[b] = (int)i + 1;
	recents.used++;
	recents.bytes += o->n;
	pthread_mutex_unlock(&recents.lock);
}

struct recent *recent_find(const struct repo_tag *tag, const struct blob_id *id)
{
	struct recent *o;

	pthread_mutex_lock(&recents.lock);
	o = find_locked(tag, id);
	if (o)
		recent_ref(o);
	pthread_mutex_unlock(&recents.lock);
	return o;
}

void recent_forget(void)
{
	pthread_mutex_lock(&recents.lock);
	while (recents.used > 0)
		drop_oldest();
	pthread_mutex_unlock(&recents.lock);
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

static const char *hex(const struct blob_id *id, char out[2 * BLOB_ID_SIZE + 1])
{
	hex_of(out, id->b, BLOB_ID_SIZE);
	return out;
}

struct look_bytes {
	git_oid oid;
	git_odb_object *found;
};

static int look_bytes(git_odb *odb, void *arg)
{
	struct look_bytes *l = arg;
	return git_odb_read(&l->found, odb, &l->oid);
}

enum err object_read(struct repo *r, const struct blob_id *id, git_object_t want, struct object *out)
{
	char text[2 * BLOB_ID_SIZE + 1];
	struct look_bytes look = { 0 };
	int got;

	*out = (struct object){ 0 };
	out->recent = recent_find(&r->tag, id);
	if (out->recent) {
		out->p = out->recent->bytes;
		out->n = out->recent->n;
		out->type = out->recent->type;
	} else if (!packs_read(r, id, out)) {
		memcpy(look.oid.id, id->b, BLOB_ID_SIZE);
		got = repo_look(r, look_bytes, &look);
		out->odb = look.found;
		if (got == GIT_ENOTFOUND)
			return err_set(ERR_NOT_FOUND, "object %s is not in %s", hex(id, text), r->dir);
		if (got != 0)
			return git_failed(ERR_FAILED, "cannot read object %s of %s", hex(id, text), r->dir);
		out->p = git_odb_object_data(out->odb);
		out->n = git_odb_object_size(out->odb);
		out->type = git_odb_object_type(out->odb);
	}
	if (out->type != want) {
		object_release(out);
		return err_set(ERR_FAILED, "object %s of %s is not a %s", hex(id, text), r->dir, git_object_type2string(want));
	}
	return ERR_OK;
}

void object_release(struct object *o)
{
	git_odb_object_free(o->odb);
	recent_unref(o->recent);
	free(o->own);
	*o = (struct object){ 0 };
}

bool object_known(struct repo *r, const struct blob_id *id)
{
	struct recent *o = recent_find(&r->tag, id);
	git_oid oid;
	int got;

	if (o) {
		recent_unref(o);
		return true;
	}
	memcpy(oid.id, id->b, BLOB_ID_SIZE);
	pthread_mutex_lock(&r->lock);
	got = git_odb_exists_ext(r->odb, &oid, GIT_ODB_LOOKUP_NO_REFRESH);
	pthread_mutex_unlock(&r->lock);
	return got == 1;
}
