/* The templates of a directory, as they are on disk when the server starts. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/file.h"
#include "view/template.h"

struct place {
	const char *dir, *suffix;
};

/* Templates are ours, but a partial's name is not yet known to be one: no slash, no dot, no surprise. */
static bool stem_valid(const char *s, size_t n)
{
	if (n == 0 || n > VIEW_NAME_LIMIT)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') || s[i] == '_' || s[i] == '-'))
			return false;
	return true;
}

static enum err open_file(void *arg, const char *stem, struct buf *out)
{
	const struct place *place = arg;

	if (!stem_valid(stem, strlen(stem)))
		return err_set(ERR_INPUT, "not the name of a template: small letters, digits, _ and - only");
	char *name = mem_printf("%s/%s%s", place->dir, stem, place->suffix);
	enum err e = file_read(AT_FDCWD, name, out);
	/* The newline that ends a file is not part of it, so that a partial can stand within a line. */
	if (!e && out->len && out->p[out->len - 1] == '\n')
		out->p[--out->len] = '\0';
	free(name);
	return e;
}

static enum err load(struct view_set **out, const char *dir, const char *suffix, bool plain)
{
	struct place place = { dir, suffix };
	struct view_source source = { .open = open_file, .arg = &place, .dir = dir };
	struct view_set *s = NULL;
	struct view_names *names = NULL;
	enum err e = ERR_OK;
	DIR *d = opendir(dir);

	*out = NULL;
	if (!d)
		return err_sys(ERR_FAILED, "templates: cannot open %s", dir);
	s = view_set_new();
	s->plain = plain;
	names = view_names_fixed();
	for (struct dirent *entry; !e && (errno = 0, entry = readdir(d));) {
		size_t n = strlen(entry->d_name), end = strlen(suffix);
		if (n <= end || strcmp(entry->d_name + n - end, suffix) != 0 || !stem_valid(entry->d_name, n - end))
			continue;
		char *stem = mem_dupn(entry->d_name, n - end);
		e = view_compile(s, stem, names, &source);
		free(stem);
	}
	if (!e && errno)
		e = err_sys(ERR_FAILED, "templates: cannot list %s", dir);
	if (!e && !s->n)
		e = err_set(ERR_FAILED, "templates: there are none in %s", dir);
	closedir(d);
	view_names_free(names);
	if (e)
		view_free(s);
	else
		*out = s;
	return e;
}

enum err view_load(struct view_set **out, const char *dir)
{
	return load(out, dir, ".html", false);
}

enum err view_load_text(struct view_set **out, const char *dir)
{
	return load(out, dir, ".txt", true);
}
