#include "stage/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum err door_dir_open(struct door *d, struct path dir, int *fd, enum problem *problem)
{
	if (problem)
		*problem = PROBLEM_NONE;
	*fd = door_openat2(d->root, path_is_root(dir) ? "." : dir.s + 1, O_RDONLY | O_DIRECTORY);
	if (*fd < 0)
		return door_open_err(errno, problem, dir.s);
	return ERR_OK;
}

/* -1 and errno. *mount: something is mounted on it. */
static int entry_stat(struct door *d, int dirfd, struct door_entry *e, bool *mount)
{
	struct statx st;
	if (statx(dirfd, e->name, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		STATX_TYPE | STATX_MODE | STATX_NLINK | STATX_INO | STATX_SIZE | STATX_MTIME | STATX_CTIME, &st) < 0)
		return -1;
	e->st = (struct stage_stat){
		.size = st.stx_size,
		.inode = st.stx_ino,
		.mtime_ns = nanoseconds(st.stx_mtime.tv_sec, st.stx_mtime.tv_nsec),
		.ctime_ns = nanoseconds(st.stx_ctime.tv_sec, st.stx_ctime.tv_nsec),
		.exec = (st.stx_mode & 0111) != 0,
	};
	if (S_ISDIR(st.stx_mode)) {
		e->kind = ENTRY_DIR;
		e->st = (struct stage_stat){ .inode = st.stx_ino };
		e->problem = PROBLEM_NONE;
	} else {
		e->kind = ENTRY_FILE;
		e->problem = door_mode_problem(st.stx_mode, st.stx_nlink, st.stx_size, d->largest_file);
	}
	*mount = (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
	/* Of a directory, opening it will say so. */
	if (*mount && e->kind == ENTRY_FILE)
		e->problem = PROBLEM_OTHER_FS;
	return 0;
}

enum err door_dir_stamp(struct door *d, int dirfd, struct dir_stamp *out)
{
	struct stat st;
	if (fstat(dirfd, &st) < 0)
		return err_sys(ERR_FAILED, "a directory of %s", d->dir);
	*out = (struct dir_stamp){
		.inode = st.st_ino,
		.mtime_ns = nanoseconds(st.st_mtim.tv_sec, st.st_mtim.tv_nsec),
		.ctime_ns = nanoseconds(st.st_ctim.tv_sec, st.st_ctim.tv_nsec),
	};
	return ERR_OK;
}

enum err door_dir_entry(struct door *d, int dirfd, const char *name, struct door_entry *e)
{
	bool mount;
	*e = (struct door_entry){ .name = name, .name_len = strlen(name) };
	if (entry_stat(d, dirfd, e, &mount) == 0)
		return ERR_OK;
	if (errno == ENOENT || errno == ENOTDIR)
		return err_set(ERR_NOT_FOUND, "%s is not in staging", name);
	e->problem = PROBLEM_UNREADABLE;
	return ERR_OK;
}

static void list_add(struct door_reader *r, const char *name, enum entry_kind kind, enum problem problem, uint64_t inode)
{
	size_t len = strlen(name);
	r->list = mem_grow(r->list, &r->cap, r->n + 1, sizeof *r->list);
	r->names = mem_grow(r->names, &r->names_cap, r->names_len + len + 1, 1);
	memcpy(r->names + r->names_len, name, len + 1);
	r->names_len += len + 1;
	/* The names move while they grow: pointers are set at the end. */
	r->list[r->n++] = (struct door_entry){ .name_len = len, .kind = kind, .problem = problem, .st.inode = inode };
}

enum err door_dir_list(struct door *d, struct door_reader *r, int dirfd, const struct door_entry **list, size_t *n)
{
	r->n = r->names_len = 0;
	for (;;) {
		ssize_t got = getdents64(dirfd, r->bytes, READ_SIZE);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return errno == ENOENT ? err_set(ERR_NOT_FOUND, "the directory is gone")
					       : err_sys(ERR_INPUT, "reading a staging directory");
		if (got == 0)
			break;
		for (ssize_t at = 0; at < got;) {
			const struct dirent64 *de = (const void *)(r->bytes + at);
			at += de->d_reclen;
			const char *s = de->d_name;
			if (s[0] == '.' && (s[1] == 0 || (s[1] == '.' && s[2] == 0)))
				continue;
			/* Only files, and what the file system does not tell the type of, need a look. */
			enum problem p = de->d_type == DT_LNK ? PROBLEM_SYMLINK
			    : de->d_type == DT_REG || de->d_type == DT_UNKNOWN || de->d_type == DT_DIR ? PROBLEM_NONE
												       : PROBLEM_SPECIAL;
			list_add(r, s, de->d_type == DT_DIR ? ENTRY_DIR : ENTRY_FILE, p, de->d_ino);
		}
	}
	const char *name = r->names;
	size_t kept = 0;
	bool mount;
	for (size_t i = 0; i < r->n; i++) {
		struct door_entry e = r->list[i];
		e.name = name;
		name += e.name_len + 1;
		if (e.kind == ENTRY_FILE && e.problem == PROBLEM_NONE && entry_stat(d, dirfd, &e, &mount) < 0) {
			if (errno == ENOENT)
				continue; /* gone since it was listed */
			e.problem = PROBLEM_UNREADABLE;
		}
		r->list[kept++] = e;
	}
	r->n = kept;
	*list = r->list;
	*n = kept;
	return ERR_OK;
}
