/*
 * kit: what the kits that speak to drydock-receive share: their variables, what they print, and ssh.
 */
#ifndef DRYDOCK_KITS_KIT_H
#define DRYDOCK_KITS_KIT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/json.h"
#include "base/lines.h"

const char *kit_variable(const char *name); /* "" if it is not set */
uint64_t kit_number(const char *name);
void kit_sent(void); /* prints that all was handed over */
bool kit_failed(const char *fmt, ...) PRINTF_LIKE(1, 2); /* prints {"error":...}; false */

#define KIT_CONNECT_SECONDS 20 /* for each address of the host */
#define KIT_NO_CONNECTION "ssh: connect to host " /* as ssh says it */
/* connect.c: what a kit is as `KIT connect`, run by ssh: the connection to the target's host, on its standard output. An exit status. */
int kit_connect(void);
bool kit_self(char out[4096]); /* this program's file; false: it cannot be told, or has a quote in its name */

struct kit_ssh {
	pid_t pid;
	int to, from; /* pipes; to -1: closed */
	struct lines *answers;
	struct kit_heard *heard; /* what ssh itself says */
};
/* ssh to the target's host, its key only, strict about the host's key. master: others may share the connection. false: an error was told. */
bool kit_ssh_start(struct kit_ssh *s, const char *command, bool master);
/*
 * For a kit that was started before its release was there (DRYDOCK_EARLY): waits for its other variables on standard input, while ssh
 * connects. False: there is nothing to send, ssh has ended, or it took too long for production to be kept waiting.
 */
bool kit_told(const struct kit_ssh *s);
void kit_ssh_exec(const char *command); /* the same in place of this process, on that connection if there is one; returns if it fails */
/* The next line as JSON; NULL: none came, or it is none (then *line has it). A new reference. */
json_t *kit_ssh_answer(struct kit_ssh *s, char **line);
/* The last line that ssh said, once it has ended, as people may read it; "": it said nothing. Nothing can be sent after this. */
const char *kit_ssh_said(struct kit_ssh *s);
int kit_ssh_end(struct kit_ssh *s); /* its exit status */
/* {"refused":...} is told as the error; true if it was one. */
bool kit_refused(const json_t *answer);
/* What the receiver signed before, as the contract wants it printed: what it holds, and what it found last. */
void kit_print_greeting(const json_t *greeting);
/* The receipt as the contract wants it printed. */
bool kit_print_receipt(const json_t *answer);

#endif
