/* Sends prepared HTTP requests over keep-alive connections to 127.0.0.1 and checks every answer.
 *
 * load PORT CONNECTIONS SECONDS STATUS EXPECTED REQUESTS LATENCIES
 *
 * REQUESTS: each request whole, after its length as a 32-bit number of this machine. LATENCIES is written: one
 * 32-bit number of microseconds per right answer, in order of arrival. An answer is right when its status is STATUS
 * and its bytes contain EXPECTED. Ends when every request was sent, or after SECONDS, once the running ones are
 * answered. Prints one JSON object. One thread, epoll, no allocation while it runs.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 1024, ANSWER_BYTES = 128 * 1024, PATIENCE_SECONDS = 20 };

struct connection {
    int fd;
    const char *request; /* what is being sent, and how much of it is left */
    size_t left;
    size_t received;
    double started;
    int waiting_to_write;
    char answer[ANSWER_BYTES];
};

static struct connection connections[MAX_CONNECTIONS];
static const char *next_request, *end_of_requests;
static const char *expected;
static char first_error[600];
static int port, wanted_status, poller, running;
static long right, wrong, sent;
static double stop_at, last_answer;
static uint32_t *latencies;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void note_error(const char *what, const char *text, size_t length) {
    wrong++;
    if (!first_error[0]) {
        size_t i = (size_t)snprintf(first_error, 100, "%s: ", what);
        for (size_t j = 0; j < length && i < sizeof first_error - 1; j++)
            first_error[i++] = text[j] < ' ' || text[j] == '"' || text[j] == '\\' ? ' ' : text[j];
        first_error[i] = 0;
    }
}

static void watch(struct connection *c, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(poller, how, c->fd, &event) < 0) die("epoll_ctl");
}

static void connect_again(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->waiting_to_write = 0;
    watch(c, EPOLL_CTL_ADD, EPOLLIN);
}

static void push(struct connection *c) {
    while (c->left) {
        ssize_t n = send(c->fd, c->request, c->left, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!c->waiting_to_write) watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            c->waiting_to_write = 1;
            return;
        }
        if (n < 0) return; /* the reader will see the end */
        c->request += n;
        c->left -= (size_t)n;
    }
    if (c->waiting_to_write) watch(c, EPOLL_CTL_MOD, EPOLLIN);
    c->waiting_to_write = 0;
}

static void begin(struct connection *c) {
    double now = seconds_now();
    if (next_request >= end_of_requests || now >= stop_at) {
        running--;
        epoll_ctl(poller, EPOLL_CTL_DEL, c->fd, NULL);
        close(c->fd);
        c->fd = -1;
        return;
    }
    uint32_t length;
    memcpy(&length, next_request, sizeof length);
    c->request = next_request + sizeof length;
    c->left = length;
    c->received = 0;
    c->started = now;
    next_request += sizeof length + length;
    sent++;
    push(c);
}

/* Length of the whole answer, or 0 while that is not known yet. */
static size_t whole_length(const struct connection *c) {
    const char *end = memmem(c->answer, c->received, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end + 4 - c->answer);
    for (const char *line = c->answer; line < end; line++) {
        if (strncasecmp(line, "content-length:", 15) == 0) return head + strtoul(line + 15, NULL, 10);
        line = memchr(line, '\n', (size_t)(end + 4 - line));
        if (!line) break;
    }
    return head;
}

static void take(struct connection *c) {
    ssize_t n = recv(c->fd, c->answer + c->received, ANSWER_BYTES - c->received, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        note_error("connection closed", c->answer, c->received);
        close(c->fd);
        connect_again(c);
        begin(c);
        return;
    }
    c->received += (size_t)n;
    size_t whole = whole_length(c);
    if (!whole || c->received < whole) {
        if (c->received == ANSWER_BYTES) die("answer too long");
        return;
    }
    last_answer = seconds_now();
    int status = atoi(c->answer + 9);
    if (status == wanted_status && memmem(c->answer, c->received, expected, strlen(expected)))
        latencies[right++] = (uint32_t)((last_answer - c->started) * 1e6);
    else
        note_error("wrong answer", c->answer, c->received);
    begin(c);
}

int main(int count, char **argument) {
    if (count != 8) return fprintf(stderr, "see the head of load.c\n"), 2;
    port = atoi(argument[1]);
    int wanted = atoi(argument[2]);
    double seconds = atof(argument[3]);
    wanted_status = atoi(argument[4]);
    expected = argument[5];
    if (wanted < 1 || wanted > MAX_CONNECTIONS) return 2;

    int file = open(argument[6], O_RDONLY);
    struct stat facts;
    if (file < 0 || fstat(file, &facts) < 0) die(argument[6]);
    char *requests = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    if (requests == MAP_FAILED) die("mmap");
    next_request = requests;
    end_of_requests = requests + facts.st_size;
    latencies = calloc((size_t)facts.st_size / 8 + 1, sizeof *latencies);
    poller = epoll_create1(0);

    for (int i = 0; i < wanted; i++) connect_again(&connections[i]);
    double started = last_answer = seconds_now();
    stop_at = started + seconds;
    running = wanted;
    for (int i = 0; i < wanted; i++) begin(&connections[i]);
    while (running) {
        struct epoll_event events[64];
        int n = epoll_wait(poller, events, 64, 1000);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0 && (events[i].events & EPOLLOUT)) push(c);
            if (c->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT)) take(c);
        }
        if (seconds_now() > stop_at + PATIENCE_SECONDS) {
            note_error("no answer", "", 0);
            wrong += running - 1;
            break;
        }
    }
    FILE *out = fopen(argument[7], "wb");
    if (!out || fwrite(latencies, sizeof *latencies, (size_t)right, out) != (size_t)right || fclose(out)) die(argument[7]);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"sent\": %ld, \"right\": %ld, \"wrong\": %ld, \"seconds\": %.6f, \"processorSeconds\": %.6f, \"firstError\": \"%s\"}\n",
           sent, right, wrong, last_answer - started,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
           first_error);
    return 0;
}
