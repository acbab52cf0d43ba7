/*
 * helper: what runs in the helper processes (base/crew.h): PAM as root, NSS as the daemon's user. For those who fork them.
 */
#ifndef DRYDOCK_AUTH_HELPER_H
#define DRYDOCK_AUTH_HELPER_H

#include "base/crew.h"

#define PAM_CHILDREN 32 /* tries at once */
#define NSS_CHILDREN 8

struct pam_service {
	const char *name; /* of the file in /etc/pam.d */
	int64_t deadline_us; /* of one try */
};
void pam_work(int fd, void *service); /* one try: see auth/pam.c */
/* Answers questions about UNIX users until the connection ends; *deadline (int64_t, microseconds) is for each. auth/unix.c */
void nss_work(int fd, void *deadline);

#endif
