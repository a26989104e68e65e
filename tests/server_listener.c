/* SPDX-License-Identifier: MIT
 *
 * The socket's path: new, live, stale, something else, too long; and who may remove it.
 */
#include "server/listener.h"
#include "vmtest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char dir[] = "/tmp/vmf-listener-XXXXXX", path[64], why[256];

static void clean(void)
{
	unlink(path);
	rmdir(path);
}

static void refused(const char *at, const char *want)
{
	struct vmf_listener l;

	CHECK_EQ(vmf__listen_open(&l, at, why, sizeof why), -1);
	CHECK_EQ(l.fd, -1);
	if (!strstr(why, want))
		vmtest_fail("'%s' does not say '%s'", why, want);
}

static int dial(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0), r;

	strcpy(a.sun_path, path);
	r = connect(s, (struct sockaddr *)&a, sizeof a);
	close(s);
	return r;
}

static void fresh(void)
{
	struct vmf_listener l;
	struct stat st;

	CHECK_EQ(vmf__listen_open(&l, path, why, sizeof why), 0);
	CHECK(!lstat(path, &st) && S_ISSOCK(st.st_mode));
	CHECK_EQ(st.st_mode & 07777, 0600);
	CHECK_EQ(dial(), 0);
	vmf__listen_close(&l);
	CHECK(lstat(path, &st) && errno == ENOENT);
	vmf__listen_close(&l);
}

static void live(void)
{
	struct vmf_listener l;

	CHECK_EQ(vmf__listen_open(&l, path, why, sizeof why), 0);
	refused(path, "already served");
	CHECK_EQ(dial(), 0);
	vmf__listen_close(&l);
}

static void stale(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct vmf_listener l;
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(a.sun_path, path);
	CHECK_EQ(bind(s, (struct sockaddr *)&a, sizeof a), 0);
	close(s);
	CHECK_EQ(vmf__listen_open(&l, path, why, sizeof why), 0);
	CHECK_EQ(dial(), 0);
	vmf__listen_close(&l);
}

static void other_things(void)
{
	char full[128], deep[96];
	struct stat st;
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	CHECK(fd >= 0);
	CHECK_EQ(write(fd, "precious", 8), 8);
	close(fd);
	refused(path, "not a socket");
	CHECK(!stat(path, &st) && st.st_size == 8);
	unlink(path);
	CHECK_EQ(mkdir(path, 0700), 0);
	refused(path, "not a socket");
	rmdir(path);
	CHECK_EQ(symlink("nowhere", path), 0);
	refused(path, "not a socket");
	unlink(path);
	memset(full, 'x', 108);
	memcpy(full, dir, strlen(dir));
	full[strlen(dir)] = '/';
	full[108] = '\0';
	refused(full, "longer than 107 bytes");
	snprintf(deep, sizeof deep, "%s/none/sock", dir);
	refused(deep, "No such file");
}

/* A datagram socket cannot be asked, so it is left alone. */
static void other_socket(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_DGRAM, 0);

	strcpy(a.sun_path, path);
	CHECK_EQ(bind(s, (struct sockaddr *)&a, sizeof a), 0);
	refused(path, "cannot be asked");
	close(s);
	unlink(path);
}

/* What took our path meanwhile is not ours to remove. */
static void taken_over(void)
{
	struct vmf_listener l;
	struct stat st;

	CHECK_EQ(vmf__listen_open(&l, path, why, sizeof why), 0);
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	vmf__listen_close(&l);
	CHECK(!stat(path, &st));
	unlink(path);
}

/* Nobody looks while another one is between its look and its bind. */
static void locked(void)
{
	struct vmf_listener l;
	int fd = open(dir, O_RDONLY | O_DIRECTORY);
	pid_t pid;

	CHECK_EQ(flock(fd, LOCK_EX), 0);
	refused(path, "locked by another process");
	pid = fork();
	if (!pid) {
		usleep(100000);
		_exit(0);
	}
	close(fd); /* the child still holds it for a while */
	CHECK_EQ(vmf__listen_open(&l, path, why, sizeof why), 0);
	vmf__listen_close(&l);
}

static const struct vmtest tests[] = {
	VMTEST(fresh), VMTEST(live), VMTEST(stale), VMTEST(other_things), VMTEST(other_socket), VMTEST(taken_over),
	VMTEST(locked),
};

int main(int argc, char **argv)
{
	int r;

	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof path, "%s/sock", dir);
	r = vmtest_main(tests, sizeof tests / sizeof tests[0], 20, argc, argv);
	clean();
	rmdir(dir);
	return r;
}
