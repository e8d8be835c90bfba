/* Memory that is copied onto itself, mapped at a second place, shared with a forked child, and walked through. */
#include "check.h"

#include <mach/mach_vm.h>

static vm_map_t self(void)
{
    return mach_task_self();
}

static vm_address_t pages(unsigned count)
{
    vm_address_t at = 0;
    OK(vm_allocate(self(), &at, count * vm_page_size, VM_FLAGS_ANYWHERE));
    return at;
}

/* Pages with a hole in the middle and, behind it, one that may not be touched. Something is mapped in no hole meanwhile. */
static vm_address_t pages_with_a_hole(void)
{
    vm_address_t at = pages(4);
    OK(vm_protect(self(), at + 2 * vm_page_size, vm_page_size, FALSE, VM_PROT_NONE));
    OK(vm_deallocate(self(), at + vm_page_size, vm_page_size));
    return at;
}

static void copies_onto_themselves(void)
{
    enum { PAGES = 8 };
    vm_size_t all = PAGES * vm_page_size;
    char *at = (char *)pages(PAGES), *wanted = malloc(all);
    static const long steps[] = {1, -1, 100, -100, 4096, -4096, 5000, -5000};
    for (size_t n = 0; n < COUNT(steps); n++) {
        for (vm_size_t byte = 0; byte < all; byte++)
            wanted[byte] = at[byte] = (char)(byte * 7 + byte / 4096);
        char *from = at + 6000, *to = from + steps[n];
        memmove(wanted + 6000 + steps[n], wanted + 6000, 5 * 4096);
        if (n % 2)
            OK(vm_copy(self(), (vm_address_t)from, 5 * 4096, (vm_address_t)to));
        else
            OK(vm_write(self(), (vm_address_t)to, (vm_offset_t)from, 5 * 4096));
        TRUE_THAT(memcmp(at, wanted, all) == 0);
    }
    free(wanted);
    OK(vm_deallocate(self(), (vm_address_t)at, all));

    /* More than is moved at a time. */
    vm_size_t size = 5 << 19;
    unsigned *words;
    OK(vm_allocate(self(), (vm_address_t *)&words, size + vm_page_size, VM_FLAGS_ANYWHERE));
    for (unsigned n = 0; n < size / 4; n++)
        words[n] = n;
    OK(vm_copy(self(), (vm_address_t)words, size, (vm_address_t)(words + 3)));
    for (unsigned n = 0, wrong = 0; n < size / 4 && !wrong; n++) {
        wrong = words[n + 3] != n;
        EXPECT(words[n + 3], n);
    }
    OK(vm_deallocate(self(), (vm_address_t)words, size + vm_page_size));
}

static void what_cannot_be_copied_says_why(void)
{
    vm_address_t good = pages(4), at = pages_with_a_hole(), locked = at + 2 * vm_page_size;
    vm_size_t size = vm_page_size, done = 0;
    vm_offset_t data = 0;
    mach_msg_type_number_t count = 0;
    EXPECT_CODE(vm_copy(self(), at, 3 * size, good), KERN_INVALID_ADDRESS);
    EXPECT_CODE(vm_copy(self(), good, 3 * size, at), KERN_INVALID_ADDRESS);
    EXPECT_CODE(vm_copy(self(), locked, size, good), KERN_PROTECTION_FAILURE);
    EXPECT_CODE(vm_copy(self(), good, size, locked), KERN_PROTECTION_FAILURE);
    EXPECT_CODE(vm_write(self(), locked, good, vm_page_size), KERN_PROTECTION_FAILURE);
    EXPECT_CODE(vm_read(self(), locked, size, &data, &count), KERN_PROTECTION_FAILURE);
    EXPECT_CODE(vm_read_overwrite(self(), locked, size, good, &done), KERN_PROTECTION_FAILURE);
    EXPECT_CODE(vm_copy(self(), good, (vm_size_t)-1, good), KERN_INVALID_ADDRESS);
    OK(vm_copy(self(), good, 0, locked));
    OK(vm_deallocate(self(), at, 4 * size));
    OK(vm_deallocate(self(), good, 4 * size));
}

static void arguments_are_looked_at(void)
{
    vm_address_t at = pages(2), made = at;
    EXPECT_CODE(vm_allocate(self(), &made, vm_page_size, 0x100), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_allocate(self(), &made, (vm_size_t)-1, VM_FLAGS_ANYWHERE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_allocate(self(), &made, (vm_size_t)1 << 60, VM_FLAGS_ANYWHERE), KERN_NO_SPACE);
    EXPECT_CODE(vm_protect(self(), at, vm_page_size, FALSE, 0x8000), KERN_INVALID_ARGUMENT);
    OK(vm_protect(self(), at, 0, FALSE, VM_PROT_NONE));
    OK(vm_protect(self(), at, vm_page_size, FALSE, VM_PROT_DEFAULT | VM_PROT_COPY));
    *(char *)at = 1;
    EXPECT_CODE(vm_map(self(), &made, vm_page_size, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, FALSE, 0x40, VM_PROT_ALL, VM_INHERIT_COPY),
                KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_map(self(), &made, vm_page_size, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, FALSE, VM_PROT_READ, VM_PROT_ALL, 9),
                KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_inherit(self(), at, vm_page_size, 9), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_behavior_set(self(), at, vm_page_size, 99), KERN_INVALID_ARGUMENT);
    for (vm_behavior_t behavior = VM_BEHAVIOR_DEFAULT; behavior <= VM_BEHAVIOR_DONTNEED; behavior++)
        OK(vm_behavior_set(self(), at, vm_page_size, behavior));
    EXPECT(*(char *)at, 1);
    EXPECT_CODE(vm_msync(self(), at, vm_page_size, VM_SYNC_SYNCHRONOUS | VM_SYNC_ASYNCHRONOUS), KERN_INVALID_ARGUMENT);
    OK(vm_msync(self(), at, vm_page_size, VM_SYNC_SYNCHRONOUS));

    /* A fixed place begins with its page, and is as long as asked for. */
    OK(vm_deallocate(self(), at + vm_page_size, vm_page_size));
    made = at + vm_page_size + 5;
    OK(vm_allocate(self(), &made, vm_page_size, VM_FLAGS_FIXED));
    EXPECT(made, at + vm_page_size);
    OK(vm_deallocate(self(), at, 2 * vm_page_size));
    EXPECT_CODE(vm_msync(self(), at, vm_page_size, VM_SYNC_ASYNCHRONOUS | VM_SYNC_CONTIGUOUS), KERN_INVALID_ADDRESS);
    OK(vm_msync(self(), at, vm_page_size, VM_SYNC_ASYNCHRONOUS));
}

/* Runs something in a forked child. How it ended. */
static int in_child(void (*run)(vm_address_t), vm_address_t at)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        run(at);
        _exit(0);
    }
    EXPECT(waitpid(child, &status, 0), child);
    return status;
}

static void write_two(vm_address_t at)
{
    *(volatile int *)at = 2;
}

static void read_it(vm_address_t at)
{
    signal(SIGSEGV, SIG_DFL);
    (void)*(volatile int *)at;
}

static void children_inherit_as_told(void)
{
    vm_address_t at = pages(3), made = 0;
    *(int *)at = 1;
    EXPECT(in_child(write_two, at), 0);
    EXPECT(*(int *)at, 1);
    OK(vm_inherit(self(), at, vm_page_size, VM_INHERIT_SHARE));
    OK(vm_inherit(self(), at, vm_page_size, VM_INHERIT_SHARE));
    EXPECT(*(int *)at, 1);
    EXPECT(in_child(write_two, at), 0);
    EXPECT(*(int *)at, 2);
    /* Shared memory is not made private again. */
    EXPECT_CODE(vm_inherit(self(), at, 2 * vm_page_size, VM_INHERIT_COPY), KERN_NOT_SUPPORTED);
    OK(vm_inherit(self(), at + vm_page_size, vm_page_size, VM_INHERIT_COPY));
    OK(vm_inherit(self(), at + vm_page_size, vm_page_size, VM_INHERIT_NONE));
    TRUE_THAT(WIFSIGNALED(in_child(read_it, at + vm_page_size)));
    EXPECT(in_child(read_it, at + 2 * vm_page_size), 0);
    OK(vm_deallocate(self(), at, 3 * vm_page_size));
    EXPECT_CODE(vm_inherit(self(), at, vm_page_size, VM_INHERIT_SHARE), KERN_INVALID_ADDRESS);

    OK(vm_map(self(), &made, vm_page_size, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, FALSE, VM_PROT_DEFAULT, VM_PROT_ALL, VM_INHERIT_SHARE));
    *(int *)made = 1;
    EXPECT(in_child(write_two, made), 0);
    EXPECT(*(int *)made, 2);
    OK(vm_deallocate(self(), made, vm_page_size));
    OK(vm_map(self(), &made, vm_page_size, 0, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, FALSE, VM_PROT_DEFAULT, VM_PROT_ALL, VM_INHERIT_NONE));
    TRUE_THAT(WIFSIGNALED(in_child(read_it, made)));
    OK(vm_deallocate(self(), made, vm_page_size));
}

static kern_return_t remap(vm_address_t *to, vm_size_t size, vm_address_t mask, int flags, vm_address_t from, boolean_t copy)
{
    vm_prot_t prot = 0, most = 0;
    return vm_remap(self(), to, size, mask, flags, self(), from, copy, &prot, &most, VM_INHERIT_COPY);
}

static void second_places_are_where_they_are_wanted(void)
{
    vm_size_t size = 2 * vm_page_size;
    for (boolean_t copy = FALSE; copy <= TRUE; copy++) {
        vm_address_t from = pages(2), to = pages(2), made = to;
        *(int *)from = 5;
        *(int *)(from + vm_page_size) = 6;
        *(int *)to = 4;
        EXPECT_CODE(remap(&made, size, 0, VM_FLAGS_FIXED, from, copy), KERN_NO_SPACE);
        EXPECT(*(int *)to, 4);
        OK(remap(&made, size, 0, VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE, from, copy));
        EXPECT(made, to);
        EXPECT(*(int *)to, 5);
        *(int *)to = 7;
        EXPECT(*(int *)from, copy ? 5 : 7);
        OK(vm_deallocate(self(), to, size));
        OK(remap(&made, size, 0, VM_FLAGS_FIXED, from, copy));
        EXPECT(made, to);
        /* Some of what is shared. */
        vm_address_t some = 0;
        OK(remap(&some, vm_page_size, 0, VM_FLAGS_ANYWHERE, from + vm_page_size, copy));
        EXPECT(*(int *)some, 6);
        OK(vm_deallocate(self(), some, vm_page_size));
        OK(vm_deallocate(self(), to, size));
        OK(remap(&made, size, 0xffff, VM_FLAGS_ANYWHERE, from, copy));
        EXPECT(made & 0xffff, 0);
        OK(vm_deallocate(self(), made, size));
        /* The place in the page is told to who asks for it. */
        OK(remap(&made, 8, 0, VM_FLAGS_ANYWHERE, from + vm_page_size - 4, copy));
        EXPECT(made % vm_page_size, 0);
        OK(vm_deallocate(self(), made, vm_page_size));
        OK(remap(&made, 8, 0, VM_FLAGS_ANYWHERE | VM_FLAGS_RETURN_DATA_ADDR, from + vm_page_size - 4, copy));
        EXPECT(made % vm_page_size, vm_page_size - 4);
        EXPECT(*(int *)(made + 4), 6);
        OK(vm_deallocate(self(), made, 8));
        OK(vm_deallocate(self(), from, size));
        EXPECT_CODE(remap(&made, size, 0, VM_FLAGS_ANYWHERE, from, copy), KERN_INVALID_ADDRESS);
    }
    /* A copy may be used as what it is a copy of. */
    vm_address_t made = 0;
    vm_prot_t prot = 0, most = 0;
    OK(vm_protect(self(), made = pages(1), vm_page_size, FALSE, VM_PROT_READ));
    vm_address_t second = 0;
    OK(vm_remap(self(), &second, vm_page_size, 0, VM_FLAGS_ANYWHERE, self(), made, TRUE, &prot, &most, VM_INHERIT_COPY));
    EXPECT(prot, VM_PROT_READ);
    EXPECT_CODE(vm_write(self(), second, (vm_offset_t)&prot, sizeof prot), KERN_PROTECTION_FAILURE);
    OK(vm_deallocate(self(), second, vm_page_size));
    OK(vm_deallocate(self(), made, vm_page_size));
}

static void walks_see_every_range(void)
{
    vm_address_t mine = pages(6);
    OK(vm_protect(self(), mine + 2 * vm_page_size, 2 * vm_page_size, FALSE, VM_PROT_READ));
    memset((void *)mine, 1, 2 * vm_page_size);
    mach_vm_address_t at = 0, last = 0;
    mach_vm_size_t size = 0;
    int seen = 0, found = 0;
    for (;; at += size, seen++) {
        vm_region_submap_info_data_64_t info;
        mach_msg_type_number_t count = VM_REGION_SUBMAP_INFO_COUNT_64;
        natural_t depth = 99;
        kern_return_t code = mach_vm_region_recurse(self(), &at, &size, &depth, (vm_region_recurse_info_t)&info, &count);
        if (code != KERN_SUCCESS) {
            EXPECT_CODE(code, KERN_INVALID_ADDRESS);
            break;
        }
        TRUE_THAT(at >= last && size > 0);
        last = at + size;
        EXPECT(depth, 0);
        EXPECT(count, VM_REGION_SUBMAP_INFO_COUNT_64);
        EXPECT(info.is_submap, FALSE);
        if (at == mine + 2 * vm_page_size) {
            found++;
            EXPECT(size, 2 * vm_page_size);
            EXPECT(info.protection, VM_PROT_READ);
            EXPECT(info.share_mode, SM_PRIVATE);
            EXPECT(info.external_pager, 0);
        }
        if (at <= mine && mine < at + size) {
            found++;
            TRUE_THAT(info.pages_resident >= 2);
        }
    }
    TRUE_THAT(seen > 10);
    EXPECT(found, 2);

    vm_address_t place = mine + 2 * vm_page_size;
    vm_size_t length = 0;
    vm_region_extended_info_data_t extended;
    vm_region_top_info_data_t top;
    mach_msg_type_number_t count = VM_REGION_EXTENDED_INFO_COUNT;
    mach_port_t object = 1;
    OK(vm_region_64(self(), &place, &length, VM_REGION_EXTENDED_INFO, (vm_region_info_t)&extended, &count, &object));
    EXPECT(extended.protection, VM_PROT_READ);
    EXPECT(extended.share_mode, SM_PRIVATE);
    count = VM_REGION_TOP_INFO_COUNT;
    OK(vm_region_64(self(), &place, &length, VM_REGION_TOP_INFO, (vm_region_info_t)&top, &count, &object));
    EXPECT(top.share_mode, SM_PRIVATE);
    count = VM_REGION_TOP_INFO_COUNT - 1;
    EXPECT_CODE(vm_region_64(self(), &place, &length, VM_REGION_TOP_INFO, (vm_region_info_t)&top, &count, &object), KERN_INVALID_ARGUMENT);
    /* A program that was compiled for a shorter form. */
    vm_region_submap_info_data_64_t info;
    natural_t depth = 0;
    memset(&info, 0x77, sizeof info);
    count = VM_REGION_SUBMAP_INFO_V0_COUNT_64;
    OK(vm_region_recurse_64(self(), &place, &length, &depth, (vm_region_recurse_info_t)&info, &count));
    EXPECT(count, VM_REGION_SUBMAP_INFO_V0_COUNT_64);
    EXPECT(info.pages_reusable, 0x77777777);
    count--;
    EXPECT_CODE(vm_region_recurse_64(self(), &place, &length, &depth, (vm_region_recurse_info_t)&info, &count), KERN_INVALID_ARGUMENT);
    OK(vm_deallocate(self(), mine, 6 * vm_page_size));
}

CHECK_MAIN(CASE(copies_onto_themselves), CASE(what_cannot_be_copied_says_why), CASE(arguments_are_looked_at), CASE(children_inherit_as_told),
           CASE(second_places_are_where_they_are_wanted), CASE(walks_see_every_range))
