/*
 * Stream sockets between a guest and its host (AF_VSOCK), from the guest's side:
 *
 *     vsock serve PORT   sends back what comes, to one connection after the other
 *     vsock ask PORT     connects to the host, sends standard input and prints what comes back
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static char buffer[65536];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Copies until the end of the stream; returns the number of bytes. */
static long copy(int from, int to)
{
	long total = 0;

	for (;;) {
		ssize_t count = read(from, buffer, sizeof buffer);

		if (count < 0)
			fail("read");
		if (count == 0)
			return total;
		for (ssize_t done = 0; done < count;) {
			ssize_t written = write(to, buffer + done, count - done);

			if (written < 0)
				fail("write");
			done += written;
		}
		total += count;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_vm address = { .svm_family = AF_VSOCK };
	int sock = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (argc != 3)
		return 2;
	if (sock < 0)
		fail("socket");
	address.svm_port = strtoul(argv[2], NULL, 10);
	if (strcmp(argv[1], "serve") == 0) {
		address.svm_cid = VMADDR_CID_ANY;
		if (bind(sock, (struct sockaddr *)&address, sizeof address) < 0 || listen(sock, 64) < 0)
			fail("bind");
		printf("serving\n");
		fflush(stdout);
		for (;;) {
			int client = accept(sock, NULL, NULL);

			if (client < 0)
				fail("accept");
			fprintf(stderr, "served %ld bytes\n", copy(client, client));
			close(client);
		}
	}
	address.svm_cid = VMADDR_CID_HOST;
	if (connect(sock, (struct sockaddr *)&address, sizeof address) < 0)
		fail("connect");
	if (fork() == 0) {
		copy(0, sock);
		shutdown(sock, SHUT_WR);
		return 0;
	}
	copy(sock, 1);
	wait(NULL);
	return 0;
}
