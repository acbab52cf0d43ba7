/* What is approved at or below the path, and the bytes that ever were: two tables with open addressing. */
#include <stdlib.h>
#include <string.h>

#include "evidence/inside.h"

struct state {
	struct approved **files;
	size_t n_files, files_cap;
	struct version **versions;
	size_t n_versions, versions_cap;
};

#define FIRST 256 /* slots; a power of two */

struct state *state_new(void)
{
	struct state *s = mem_alloc(sizeof(*s));

	s->files_cap = s->versions_cap = FIRST;
	s->files = mem_array(FIRST, sizeof(*s->files));
	s->versions = mem_array(FIRST, sizeof(*s->versions));
	return s;
}

void state_free(struct state *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->files_cap; i++)
		free(s->files[i]);
	for (size_t i = 0; i < s->versions_cap; i++)
		free(s->versions[i]);
	free(s->files);
	free(s->versions);
	free(s);
}

static size_t start(const struct sha256 *h, size_t cap)
{
	size_t at;

	memcpy(&at, h->b, sizeof(at));
	return at & (cap - 1);
}

static struct approved **file_slot(struct approved **slots, size_t cap, const struct sha256 *hash)
{
	size_t at = start(hash, cap);

	while (slots[at] && !sha256_equal(&slots[at]->hash, hash))
		at = (at + 1) & (cap - 1);
	return &slots[at];
}

static struct version **version_slot(struct version **slots, size_t cap, const struct sha256 *hash)
{
	size_t at = start(hash, cap);

	while (slots[at] && !sha256_equal(&slots[at]->sha256, hash))
		at = (at + 1) & (cap - 1);
	return &slots[at];
}

struct approved *state_file(struct state *s, struct path path, bool make)
{
	struct approved **slot;
	struct sha256 hash;

	path_hash(path, &hash);
	slot = file_slot(s->files, s->files_cap, &hash);
	if (*slot || !make)
		return *slot;
	if (2 * ++s->n_files > s->files_cap) {
		struct approved **more = mem_array(2 * s->files_cap, sizeof(*more));

		for (size_t i = 0; i < s->files_cap; i++)
			if (s->files[i])
				*file_slot(more, 2 * s->files_cap, &s->files[i]->hash) = s->files[i];
		free(s->files);
		s->files = more;
		s->files_cap *= 2;
		slot = file_slot(s->files, s->files_cap, &hash);
	}
	*slot = mem_alloc(sizeof(**slot));
	(*slot)->hash = hash;
	return *slot;
}

uint64_t state_standing(const struct state *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->files_cap; i++)
		n += s->files[i] && s->files[i]->stands;
	return n;
}

struct version *state_version(struct state *s, const struct record_file *f, bool *same)
{
	struct version **slot = version_slot(s->versions, s->versions_cap, &f->print.sha256), *v;

	*same = true;
	if ((v = *slot)) {
		*same = v->size == f->print.size && blob_id_equal(&v->blob, &f->blob) && memcmp(v->md5.b, f->print.md5.b, sizeof(v->md5.b)) == 0;
		return v;
	}
	if (2 * ++s->n_versions > s->versions_cap) {
		struct version **more = mem_array(2 * s->versions_cap, sizeof(*more));

		for (size_t i = 0; i < s->versions_cap; i++)
			if (s->versions[i])
				*version_slot(more, 2 * s->versions_cap, &s->versions[i]->sha256) = s->versions[i];
		free(s->versions);
		s->versions = more;
		s->versions_cap *= 2;
		slot = version_slot(s->versions, s->versions_cap, &f->print.sha256);
	}
	v = *slot = mem_alloc(sizeof(*v));
	*v = (struct version){ .sha256 = f->print.sha256, .md5 = f->print.md5, .blob = f->blob, .size = f->print.size };
	return v;
}

struct version *state_version_find(const struct state *s, const struct sha256 *sha256)
{
	return *version_slot(s->versions, s->versions_cap, sha256);
}

static int by_sha256(const void *a, const void *b)
{
	return memcmp((*(struct version *const *)a)->sha256.b, (*(struct version *const *)b)->sha256.b, sizeof(struct sha256));
}

struct version **state_versions(const struct state *s, bool standing, size_t *n)
{
	struct version **list = mem_array((standing ? s->n_files : s->n_versions) + 1, sizeof(*list));
	size_t k = 0, kept = 0;

	if (standing) {
		for (size_t i = 0; i < s->files_cap; i++)
			if (s->files[i] && s->files[i]->stands)
				list[k++] = state_version_find(s, &s->files[i]->sha256);
	} else {
		for (size_t i = 0; i < s->versions_cap; i++)
			if (s->versions[i])
				list[k++] = s->versions[i];
	}
	if (k)
		qsort(list, k, sizeof(*list), by_sha256);
	for (size_t i = 0; i < k; i++)
		if (!i || list[i] != list[i - 1])
			list[kept++] = list[i];
	*n = kept;
	return list;
}
