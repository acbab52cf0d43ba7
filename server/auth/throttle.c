/*
 * throttle: failed logins slow down. A table of fixed size: four slots a bucket, the stalest gives way, so that no flood
 * of names or addresses costs memory. Keys are hashed with a secret of the process.
 */
#include <string.h>

#include "auth/internal.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/weaken.h"

#define BUCKETS 4096u
#define WAYS 4

enum kind { KIND_PAIR, KIND_NAME, KIND_ADDRESS, KIND_COUNT };

static const struct limit {
	unsigned free; /* failures before any delay */
	int64_t ceiling; /* the longest delay */
} limits[KIND_COUNT] = {
	[KIND_PAIR] = { 3, 60 * CLOCK_SECOND },
	[KIND_NAME] = { 10, 15 * CLOCK_SECOND },
	[KIND_ADDRESS] = { 30, 30 * CLOCK_SECOND },
};

#define FADES (15 * 60 * CLOCK_SECOND) /* without a failure: forgotten */
#define TRUSTED (30 * 24 * 3600 * CLOCK_SECOND) /* how long a right password from an address is remembered */

struct slot {
	uint64_t key; /* 0: free */
	unsigned failures;
	int64_t last; /* the newest attempt that counted */
	int64_t good_until; /* KIND_PAIR: a right password came from here */
};

struct throttle {
	pthread_mutex_t lock;
	uint8_t secret[32];
	struct slot slots[BUCKETS][WAYS];
};

struct throttle *throttle_new(void)
{
	struct throttle *t = mem_alloc(sizeof *t);

	pthread_mutex_init(&t->lock, NULL);
	random_bytes(t->secret, sizeof t->secret);
	return t;
}

void throttle_free(struct throttle *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t);
}

static uint64_t key_of(const struct throttle *t, enum kind kind, const char *name, const char *address)
{
	struct buf b = BUF_INIT(16384);
	struct sha256 digest;
	uint64_t key;

	buf_char(&b, (char)('0' + kind));
	if (kind != KIND_ADDRESS)
		buf_str(&b, name);
	buf_char(&b, '\0');
	if (kind != KIND_NAME)
		buf_str(&b, address);
	hmac_sha256(&digest, t->secret, sizeof t->secret, buf_text(&b), b.len);
	buf_release(&b);
	memcpy(&key, digest.b, sizeof key);
	return key ? key : 1;
}

/* The slot of a key; made by taking the place of the stalest if there is none. */
static struct slot *slot_of(struct throttle *t, uint64_t key, int64_t now)
{
	struct slot *bucket = t->slots[key % BUCKETS], *stalest = bucket;

	for (unsigned i = 0; i < WAYS; i++) {
		if (bucket[i].key == key) {
			if (now - bucket[i].last > FADES)
				bucket[i].failures = 0;
			return &bucket[i];
		}
		if (!bucket[i].key || (stalest->key && bucket[i].last < stalest->last))
			stalest = &bucket[i];
	}
	*stalest = (struct slot){ .key = key, .last = now };
	return stalest;
}

static int64_t delay_of(enum kind kind, unsigned failures)
{
	const struct limit *l = &limits[kind];
	int64_t delay = CLOCK_SECOND;

	if (failures < l->free)
		return 0;
	for (unsigned i = l->free; i < failures && delay < l->ceiling; i++)
		delay *= 2;
	return delay < l->ceiling ? delay : l->ceiling;
}

int64_t throttle_begin(struct throttle *t, const char *name, const char *address)
{
	struct slot *slots[KIND_COUNT];
	int64_t now, wait = 0;
	bool trusted;

	pthread_mutex_lock(&t->lock);
	now = clock_boot(); /* not before: an attempt beside this one would lie in the future */
	for (int kind = 0; kind < KIND_COUNT; kind++)
		slots[kind] = slot_of(t, key_of(t, (enum kind)kind, name, address), now);
	trusted = slots[KIND_PAIR]->good_until > now;
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		int64_t delay = delay_of((enum kind)kind, slots[kind]->failures), left = slots[kind]->last + delay - now;

		if (kind == KIND_NAME && trusted)
			continue;
		if (delay && left > wait && !WEAK(login_throttle))
			wait = left;
	}
	/* An attempt that is sent away does not count: waiting out the delay always helps. */
	if (!wait)
		for (int kind = 0; kind < KIND_COUNT; kind++) {
			slots[kind]->failures++;
			slots[kind]->last = now;
		}
	pthread_mutex_unlock(&t->lock);
	return wait;
}

static void take_back(struct throttle *t, const char *name, const char *address, bool success)
{
	int64_t now;

	pthread_mutex_lock(&t->lock);
	now = clock_boot();
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		struct slot *s = slot_of(t, key_of(t, (enum kind)kind, name, address), now);

		if (success && kind != KIND_ADDRESS)
			s->failures = 0;
		else if (s->failures)
			s->failures--;
		if (success && kind == KIND_PAIR)
			s->good_until = now + TRUSTED;
	}
	pthread_mutex_unlock(&t->lock);
}

void throttle_success(struct throttle *t, const char *name, const char *address)
{
	take_back(t, name, address, true);
}

void throttle_cancel(struct throttle *t, const char *name, const char *address)
{
	take_back(t, name, address, false);
}
