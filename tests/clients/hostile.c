/* A hostile root of a container that has the mount and nothing else: tries to get out of it, and to make it fall over.
 *
 * hostile DIR NAME FILES: works in DIR/NAME; says `ready`, waits for a line, attacks, and says what it found:
 * `ESCAPE ..` for each thing that must not be, and `done` at the end. FILES is the size of its huge directory.
 * DIR/../.. is the container's own root: /canary is there as on the host, with other contents. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static void escape(const char *what) { printf("ESCAPE %s (%s)\n", what, strerror(errno)); }

/* The canaries of the host say "host"; nothing that is reached from here may. */
static void read_canary(const char *path)
{
    char text[64] = "";
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    if (fd < 0)
        return;
    if (read(fd, text, sizeof text - 1) > 0 && strstr(text, "host"))
        escape(path);
    close(fd);
}

static void links(void)
{
    const char *targets[] = {
        "/canary", "../canary", "../../canary", "../../../canary", "/var/lib/hoodydb/canary", "../.hoodydb/daemon.lock",
        "/proc/self/root/canary", "/proc/1/root/canary", "self", "",
    };
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        char name[32];
        snprintf(name, sizeof name, "link%zu", i);
        unlink(name);
        if (symlink(targets[i], name) == 0)
            read_canary(name);
        int fd = open(name, O_WRONLY | O_CREAT | O_NOFOLLOW, 0600);
        if (fd >= 0 && strlen(targets[i]) > 0)
            close(fd);
    }
    symlink("self", "self");
    read_canary("../../../canary/../canary");
    const char *below[] = { "../.hoodydb", "../.hoodydb/daemon.lock", "../.hoodydb/../../canary", "../../../var/lib/hoodydb/canary" };
    for (size_t i = 0; i < sizeof below / sizeof *below; i++)
        read_canary(below[i]);
    struct stat st;
    if (stat("../.hoodydb", &st) == 0)
        escape("the daemon's own directory is visible");
    if (open("../.hoodydb/daemon.lock", O_RDWR | O_CREAT, 0600) >= 0)
        escape("the daemon's lock can be opened");
    if (rename("../.hoodydb", "stolen") == 0)
        escape("the daemon's own directory can be moved");
}

static void special_files(void)
{
    const struct { const char *name; mode_t kind; dev_t device; } all[] = {
        { "disk", S_IFBLK | 0666, makedev(8, 0) }, { "vda", S_IFBLK | 0666, makedev(254, 0) },
        { "mem", S_IFCHR | 0666, makedev(1, 1) }, { "kmsg", S_IFCHR | 0666, makedev(1, 11) },
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        unlink(all[i].name);
        mknod(all[i].name, all[i].kind, all[i].device);
        int fd = open(all[i].name, O_RDWR | O_NONBLOCK);
        struct stat st;
        if (fd >= 0 && fstat(fd, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)))
            escape("a device node can be opened");
        if (fd >= 0)
            close(fd);
    }
    mkfifo("pipe", 0666);
    int fd = open("setuid", O_WRONLY | O_CREAT, 06777);
    if (fd >= 0) {
        fchmod(fd, 06777);
        close(fd);
    }
    chmod("setuid", 06777);
    link("/bin/busybox", "busybox");
    link("/canary", "canary");
    link("setuid", "setuid2");
    read_canary("canary");
}

static void names(void)
{
    char name[300];
    memset(name, 'a', sizeof name);
    for (int length = 250; length < 260; length++) {
        name[length] = 0;
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if ((fd >= 0) != (length <= 255))
            escape("a name of a wrong length");
        if (fd >= 0)
            close(fd);
        name[length] = 'a';
    }
    const char *odd[] = { "new\nline", "\033[2J\033]0;x\007", "\xff\xfe", "-rf", "a\\nb", "x.db-journal", "\xe2\x80\xae", " " };
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        close(open(odd[i], O_WRONLY | O_CREAT, 0600));
    /* A chain of directories that is deeper than a path may be long. */
    int at = open(".", O_DIRECTORY), top = at;
    for (int depth = 0; depth < 300; depth++) {
        mkdirat(at, "deeper-and-deeper", 0700);
        int next = openat(at, "deeper-and-deeper", O_DIRECTORY);
        if (at != top)
            close(at);
        if (next < 0)
            break;
        at = next;
    }
}

static void attributes(void)
{
    const char *names[] = {
        "security.capability", "security.selinux", "security.ima", "trusted.hoodydb.root", "trusted.overlay.opaque",
        "system.posix_acl_access", "user.", "nonsense",
    };
    char value[70000] = "";
    close(open("attributes", O_WRONLY | O_CREAT, 0600));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (setxattr("attributes", names[i], "x", 1, 0) == 0 || setxattr("..", names[i], "x", 1, 0) == 0)
            escape(names[i]);
        getxattr("..", names[i], value, sizeof value);
    }
    setxattr("attributes", "user.large", value, sizeof value, 0);
    listxattr("attributes", value, sizeof value);
}

static void controls(void)
{
    int fd = open("controls", O_RDWR | O_CREAT, 0600);
    unsigned long argument[512] = { FS_IMMUTABLE_FL };
    /* Nothing may be passed on to the file below: an immutable one could never be removed again. */
    for (unsigned long number = 0; number < 256; number++)
        for (int type = 0; type < 3; type++)
            ioctl(fd, (unsigned long)"fXT"[type] << 8 | number, argument);
    ioctl(fd, FS_IOC_SETFLAGS, argument);
    ioctl(fd, FIFREEZE, 0);
    ioctl(fd, FITRIM, argument);
    ioctl(fd, FICLONE, fd);
    fcntl(fd, F_SETLEASE, F_WRLCK);
    fcntl(fd, F_NOTIFY, DN_MODIFY);
    close(fd);
    if (unlink("controls") != 0)
        escape("a file was made immutable");
}

/* By handle: a forged handle must not lead to another file system's inode. */
static void handles(void)
{
    struct { struct file_handle head; unsigned char bytes[128]; } handle = { .head.handle_bytes = 128 };
    int mount_id, at = open("..", O_DIRECTORY);
    if (name_to_handle_at(at, "", &handle.head, &mount_id, AT_EMPTY_PATH) != 0)
        return;
    for (unsigned long node = 0; node < 4096; node++) {
        memcpy(handle.bytes, &node, sizeof node);
        int fd = open_by_handle_at(at, &handle.head, O_RDONLY | O_NONBLOCK);
        char text[64] = "";
        if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && strstr(text, "host"))
            escape("a forged handle");
        if (fd >= 0)
            close(fd);
    }
    close(at);
}

static volatile int racing = 1;

static void *swap(void *unused)
{
    while (racing) {
        mkdir("race", 0700);
        renameat2(AT_FDCWD, "race", AT_FDCWD, "aside", RENAME_EXCHANGE);
        rename("race", "away");
        symlink("../../..", "race");
        rename("away", "race");
        unlink("race");
        rmdir("away");
    }
    return unused;
}

static void races(void)
{
    pthread_t thread;
    symlink("..", "aside");
    pthread_create(&thread, NULL, swap, NULL);
    for (int i = 0; i < 20000; i++) {
        read_canary("race/canary");
        read_canary("race/../canary");
        if (i % 100 == 0)
            close(open("race/made", O_WRONLY | O_CREAT, 0600));
    }
    racing = 0;
    pthread_join(thread, NULL);
}

static void huge(long files)
{
    char name[64];
    mkdir("huge", 0700);
    for (long i = 0; i < files; i++) {
        snprintf(name, sizeof name, "huge/%ld", i);
        int fd = open(name, O_WRONLY | O_CREAT, 0600);
        if (fd < 0) {
            printf("the huge directory ends at %ld: %s\n", i, strerror(errno));
            return;
        }
        close(fd);
    }
    long seen = 0;
    DIR *directory = opendir("huge");
    while (directory && readdir(directory))
        seen++;
    if (seen != files + 2)
        escape("the huge directory is not what was made");
    int fd = open("sparse", O_RDWR | O_CREAT, 0600);
    ftruncate(fd, 1L << 43);
    pwrite(fd, "x", 1, (1L << 42) - 1);
    ftruncate(fd, 0);
    close(fd);
}

int main(int count, char **words)
{
    char line[16];
    if (count != 4 || chdir(words[1]) != 0 || (mkdir(words[2], 0700) != 0 && errno != EEXIST) || chdir(words[2]) != 0)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("ready\n");
    if (!fgets(line, sizeof line, stdin))
        return 2;
    links();
    special_files();
    names();
    attributes();
    controls();
    handles();
    races();
    huge(atol(words[3]));
    printf("done\n");
    return 0;
}
