/* vm_* and mach_vm_* on the caller's own memory. */
#include "check.h"

#include <mach/mach_vm.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

static sigjmp_buf faulted;

static void on_fault(int signal)
{
    (void)signal;
    siglongjmp(faulted, 1);
}

/* Whether a byte can be read. */
static int can_read(const void *at)
{
    volatile const char *byte = (volatile const char *)at;
    signal(SIGSEGV, on_fault);
    if (sigsetjmp(faulted, 1)) {
        signal(SIGSEGV, SIG_DFL);
        return 0;
    }
    (void)*byte;
    signal(SIGSEGV, SIG_DFL);
    return 1;
}

/* So much is kept for the next message. */
enum { BLOCK = 200000 };

static vm_map_t self(void)
{
    return mach_task_self();
}

static void allocated_memory_is_zero_and_goes(void)
{
    vm_address_t at = 1;
    OK(vm_allocate(self(), &at, 10000, VM_FLAGS_ANYWHERE));
    EXPECT(at % vm_page_size, 0);
    for (int n = 0; n < 10000; n++)
        EXPECT(((char *)at)[n], 0);
    memset((void *)at, 7, 10000);
    OK(vm_deallocate(self(), at, 10000));
    EXPECT(can_read((void *)at), 0);
    OK(vm_allocate(self(), &at, 0, VM_FLAGS_ANYWHERE));
    EXPECT(at, 0);
    EXPECT_CODE(vm_allocate(self(), NULL, 10, VM_FLAGS_ANYWHERE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_allocate(MACH_PORT_NULL, &at, 10, VM_FLAGS_ANYWHERE), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_deallocate(self(), (vm_address_t)-4096, 8192), KERN_INVALID_ARGUMENT);
}

static void fixed_place_is_taken_only_if_free(void)
{
    vm_address_t at, again;
    OK(vm_allocate(self(), &at, 4 * vm_page_size, VM_FLAGS_ANYWHERE));
    again = at;
    EXPECT_CODE(vm_allocate(self(), &again, vm_page_size, VM_FLAGS_FIXED), KERN_NO_SPACE);
    *(char *)at = 9;
    OK(vm_allocate(self(), &again, vm_page_size, VM_FLAGS_FIXED | VM_FLAGS_OVERWRITE));
    EXPECT(again, at);
    EXPECT(*(char *)at, 0);
    OK(vm_deallocate(self(), at, 4 * vm_page_size));
    OK(vm_allocate(self(), &again, vm_page_size, VM_FLAGS_FIXED));
    EXPECT(again, at);
    OK(vm_deallocate(self(), at, vm_page_size));
}

static void protection_holds(void)
{
    vm_address_t at;
    OK(vm_allocate(self(), &at, vm_page_size, VM_FLAGS_ANYWHERE));
    OK(vm_protect(self(), at, vm_page_size, FALSE, VM_PROT_NONE));
    EXPECT(can_read((void *)at), 0);
    OK(mach_vm_protect(self(), at, vm_page_size, FALSE, VM_PROT_READ));
    EXPECT(can_read((void *)at), 1);
    any_message m;
    mach_port_t port = new_port();
    /* Noticed at once, though the page was used a moment ago. */
    OK(vm_protect(self(), at, vm_page_size, FALSE, VM_PROT_DEFAULT));
    start_message((any_message *)at, port, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    OK(send_it((any_message *)at));
    OK(vm_protect(self(), at, vm_page_size, FALSE, VM_PROT_NONE));
    EXPECT_CODE(mach_msg((mach_msg_header_t *)at, MACH_SEND_MSG, 24, 0, 0, 0, 0), MACH_SEND_INVALID_DATA);
    OK(receive_it(&m, port));
    drop_port(port);
    OK(vm_deallocate(self(), at, vm_page_size));
    EXPECT_CODE(vm_protect(self(), at, vm_page_size, FALSE, VM_PROT_READ), KERN_INVALID_ADDRESS);
    EXPECT_CODE(vm_protect(self(), at, vm_page_size, TRUE, VM_PROT_READ), KERN_NOT_SUPPORTED);
    EXPECT_CODE(vm_inherit(self(), at, vm_page_size, VM_INHERIT_NONE), KERN_INVALID_ADDRESS);
}

static void copies_are_copies(void)
{
    vm_address_t one, two;
    vm_offset_t data;
    mach_msg_type_number_t count;
    mach_vm_size_t done;
    OK(vm_allocate(self(), &one, 20000, VM_FLAGS_ANYWHERE));
    OK(vm_allocate(self(), &two, 20000, VM_FLAGS_ANYWHERE));
    memset((void *)one, 5, 20000);
    OK(vm_copy(self(), one, 20000, two));
    EXPECT(memcmp((void *)one, (void *)two, 20000), 0);
    OK(vm_read(self(), one, 20000, &data, &count));
    EXPECT(count, 20000);
    memset((void *)one, 6, 20000);
    EXPECT(*(char *)data, 5);
    OK(vm_write(self(), two, one, 20000));
    EXPECT(*(char *)two, 6);
    OK(mach_vm_read_overwrite(self(), data, 20000, two, &done));
    EXPECT(done, 20000);
    EXPECT(*(char *)two, 5);
    OK(vm_deallocate(self(), data, count));
    EXPECT_CODE(vm_read(self(), 4096, 10, &data, &count), KERN_INVALID_ADDRESS);
    EXPECT_CODE(vm_write(self(), 4096, one, 10), KERN_INVALID_ADDRESS);
    EXPECT_CODE(vm_copy(self(), 4096, 10, one), KERN_INVALID_ADDRESS);
    OK(vm_deallocate(self(), one, 20000));
    OK(vm_deallocate(self(), two, 20000));
}

static void aligned_map_is_aligned(void)
{
    vm_address_t at = 0;
    vm_size_t mask = (1 << 21) - 1;
    OK(vm_map(self(), &at, 3 * vm_page_size, mask, VM_FLAGS_ANYWHERE, MACH_PORT_NULL, 0, FALSE, VM_PROT_DEFAULT, VM_PROT_ALL, VM_INHERIT_DEFAULT));
    EXPECT(at & mask, 0);
    memset((void *)at, 1, 3 * vm_page_size);
    OK(vm_deallocate(self(), at, 3 * vm_page_size));
}

static void entry_is_shared_by_its_holders(void)
{
    memory_object_size_t size = 100000;
    mach_port_t entry;
    vm_address_t one = 0, two = 0, copy = 0;
    OK(mach_make_memory_entry_64(self(), &size, 0, MAP_MEM_NAMED_CREATE | VM_PROT_DEFAULT, &entry, MACH_PORT_NULL));
    EXPECT(size % vm_page_size, 0);
    OK(vm_map(self(), &one, size, 0, VM_FLAGS_ANYWHERE, entry, 0, FALSE, VM_PROT_DEFAULT, VM_PROT_DEFAULT, VM_INHERIT_SHARE));
    OK(vm_map(self(), &two, size, 0, VM_FLAGS_ANYWHERE, entry, 0, FALSE, VM_PROT_DEFAULT, VM_PROT_DEFAULT, VM_INHERIT_SHARE));
    OK(vm_map(self(), &copy, size, 0, VM_FLAGS_ANYWHERE, entry, 0, TRUE, VM_PROT_DEFAULT, VM_PROT_DEFAULT, VM_INHERIT_COPY));
    ((char *)one)[50000] = 42;
    EXPECT(((char *)two)[50000], 42);
    ((char *)copy)[50000] = 43;
    EXPECT(((char *)two)[50000], 42);
    EXPECT_CODE(vm_map(self(), &copy, size, 0, VM_FLAGS_ANYWHERE, entry, vm_page_size, TRUE, VM_PROT_READ, VM_PROT_READ, 1), KERN_INVALID_ARGUMENT);
    EXPECT_CODE(vm_map(self(), &copy, size, 0, VM_FLAGS_ANYWHERE, mach_task_self(), 0, TRUE, VM_PROT_READ, VM_PROT_READ, 1), KERN_INVALID_OBJECT);
    OK(mach_port_deallocate(self(), entry));
    EXPECT(((char *)two)[50000], 42);

    vm_prot_t prot, most;
    vm_address_t three = 0;
    OK(vm_remap(self(), &three, size, 0, VM_FLAGS_ANYWHERE, self(), one, FALSE, &prot, &most, VM_INHERIT_SHARE));
    ((char *)three)[1] = 44;
    EXPECT(((char *)two)[1], 44);
    OK(vm_deallocate(self(), three, size));
    OK(vm_remap(self(), &three, size, 0, VM_FLAGS_ANYWHERE, self(), one, TRUE, &prot, &most, VM_INHERIT_COPY));
    EXPECT(prot, VM_PROT_DEFAULT);
    ((char *)three)[1] = 45;
    EXPECT(((char *)two)[1], 44);
    OK(vm_deallocate(self(), three, size));

    size = 10000;
    OK(mach_make_memory_entry_64(self(), &size, one, MAP_MEM_VM_COPY | VM_PROT_READ, &entry, MACH_PORT_NULL));
    ((char *)one)[1] = 46;
    vm_address_t snapshot = 0;
    OK(vm_map(self(), &snapshot, size, 0, VM_FLAGS_ANYWHERE, entry, 0, TRUE, VM_PROT_READ, VM_PROT_READ, VM_INHERIT_COPY));
    EXPECT(((char *)snapshot)[1], 44);
    OK(mach_port_deallocate(self(), entry));
    /* Shared memory that did not become so here. */
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, one, VM_PROT_READ, &entry, MACH_PORT_NULL), KERN_NOT_SUPPORTED);
}

static void maps_and_writes(mach_port_t maker)
{
    mach_port_t inbox = new_port();
    vm_address_t at = 0;
    OK(send_right(maker, inbox, MACH_MSG_TYPE_MAKE_SEND));
    mach_port_t entry = receive_right(inbox);
    OK(mach_vm_map(self(), &at, 3 * vm_page_size, 0, VM_FLAGS_ANYWHERE, entry, 0, FALSE, VM_PROT_DEFAULT, VM_PROT_DEFAULT, VM_INHERIT_SHARE));
    EXPECT(((char *)at)[0], 11);
    EXPECT(((char *)at)[vm_page_size], 0);
    EXPECT(((char *)at)[2 * vm_page_size + 5], 12);
    ((char *)at)[vm_page_size] = 13;
    OK(send_empty(maker, MACH_MSG_TYPE_COPY_SEND, 1));
    next_id(inbox);
    EXPECT(((char *)at)[0], 14);
    OK(vm_deallocate(self(), at, 3 * vm_page_size));
}

static void existing_memory_is_shared(void)
{
    memory_object_size_t size = 3 * vm_page_size;
    vm_address_t at, second = 0;
    mach_port_t entry = 0, again = 0;
    OK(vm_allocate(self(), &at, size, VM_FLAGS_ANYWHERE));
    ((char *)at)[0] = 11;
    ((char *)at)[2 * vm_page_size + 5] = 12;
    OK(mach_make_memory_entry_64(self(), &size, at, VM_PROT_DEFAULT, &entry, MACH_PORT_NULL));
    EXPECT(size, 3 * vm_page_size);
    EXPECT(((char *)at)[2 * vm_page_size + 5], 12);
    /* In another task, both ways. */
    child_t child = start_child(maps_and_writes);
    mach_port_t inbox = receive_right(child.meeting);
    OK(send_right(inbox, entry, MACH_MSG_TYPE_COPY_SEND));
    EXPECT(next_id(child.meeting), 1);
    EXPECT(((char *)at)[vm_page_size], 13);
    ((char *)at)[0] = 14;
    OK(send_empty(inbox, MACH_MSG_TYPE_COPY_SEND, 2));
    end_child(&child);
    /* Once more it is the same. */
    OK(mach_make_memory_entry_64(self(), &size, at, VM_PROT_READ, &again, MACH_PORT_NULL));
    EXPECT(again, entry);
    OK(mach_make_memory_entry_64(self(), &size, 0, VM_PROT_READ, &again, entry));
    EXPECT(again, entry);
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, vm_page_size, VM_PROT_READ, &again, entry), KERN_NOT_SUPPORTED);
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, at + vm_page_size, VM_PROT_READ, &again, MACH_PORT_NULL), KERN_NOT_SUPPORTED);
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, 0, VM_PROT_READ, &again, self()), KERN_INVALID_ARGUMENT);
    OK(mach_port_mod_refs(self(), entry, MACH_PORT_RIGHT_SEND, -3));
    OK(vm_deallocate(self(), at, 3 * vm_page_size));
    EXPECT(type_of(entry), MACH_PORT_TYPE_NONE);
    EXPECT(can_read((void *)at), 0);

    /* A second place for it; protection stays as it was. */
    OK(vm_allocate(self(), &at, 2 * vm_page_size, VM_FLAGS_ANYWHERE));
    ((char *)at)[7] = 15;
    OK(vm_protect(self(), at + vm_page_size, vm_page_size, FALSE, VM_PROT_READ));
    vm_prot_t prot, most;
    OK(vm_remap(self(), &second, 2 * vm_page_size, 0, VM_FLAGS_ANYWHERE, self(), at, FALSE, &prot, &most, VM_INHERIT_SHARE));
    EXPECT(((char *)second)[7], 15);
    ((char *)second)[7] = 16;
    EXPECT(((char *)at)[7], 16);
    EXPECT(prot, VM_PROT_DEFAULT);
    OK(vm_deallocate(self(), at, 2 * vm_page_size));
    EXPECT(((char *)second)[7], 16);
    OK(vm_deallocate(self(), second, 2 * vm_page_size));

    size = 2 * vm_page_size;
    OK(vm_allocate(self(), &at, 2 * vm_page_size, VM_FLAGS_ANYWHERE));
    OK(vm_protect(self(), at + vm_page_size, vm_page_size, FALSE, VM_PROT_READ));
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, at, VM_PROT_DEFAULT, &entry, MACH_PORT_NULL), KERN_PROTECTION_FAILURE);
    OK(vm_deallocate(self(), at + vm_page_size, vm_page_size));
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, at, VM_PROT_READ, &entry, MACH_PORT_NULL), KERN_INVALID_ADDRESS);
    OK(vm_deallocate(self(), at, vm_page_size));
    /* The stack stays where it is, and files are what they are. */
    size = vm_page_size;
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, (uintptr_t)&size, VM_PROT_READ, &entry, MACH_PORT_NULL), KERN_NOT_SUPPORTED);
    EXPECT_CODE(mach_make_memory_entry_64(self(), &size, (uintptr_t)"text", VM_PROT_READ, &entry, MACH_PORT_NULL), KERN_NOT_SUPPORTED);
}

static void regions_are_told(void)
{
    vm_address_t at, found;
    vm_size_t size = 0;
    vm_region_basic_info_data_64_t info;
    mach_msg_type_number_t count = VM_REGION_BASIC_INFO_COUNT_64;
    mach_port_t object = 1;
    OK(vm_allocate(self(), &at, 3 * vm_page_size, VM_FLAGS_ANYWHERE));
    OK(vm_protect(self(), at + vm_page_size, vm_page_size, FALSE, VM_PROT_READ));
    found = at + vm_page_size;
    OK(vm_region_64(self(), &found, &size, VM_REGION_BASIC_INFO_64, (vm_region_info_t)&info, &count, &object));
    EXPECT(found, at + vm_page_size);
    EXPECT(size, vm_page_size);
    EXPECT(info.protection, VM_PROT_READ);
    EXPECT(info.shared, 0);
    EXPECT(object, MACH_PORT_NULL);
    found = (vm_address_t)-4096;
    count = VM_REGION_BASIC_INFO_COUNT_64;
    EXPECT_CODE(vm_region_64(self(), &found, &size, VM_REGION_BASIC_INFO_64, (vm_region_info_t)&info, &count, &object), KERN_INVALID_ADDRESS);
    EXPECT_CODE(vm_region_64(self(), &at, &size, 77, (vm_region_info_t)&info, &count, &object), KERN_INVALID_ARGUMENT);
    OK(vm_deallocate(self(), at, 3 * vm_page_size));
}

static void start_with_block(any_message *m, mach_port_t port, char *data)
{
    start_complex(m, port, MACH_MSG_TYPE_MAKE_SEND, sizeof m->memory, 1);
    m->memory.memory.address = data;
    m->memory.memory.size = BLOCK;
    m->memory.memory.copy = MACH_MSG_VIRTUAL_COPY;
    m->memory.memory.type = MACH_MSG_OOL_DESCRIPTOR;
}

/* A block that came with a message, full of one byte. */
static char *received_block(mach_port_t port, int byte)
{
    static char data[BLOCK];
    any_message m;
    memset(data, byte, sizeof data);
    start_with_block(&m, port, data);
    OK(send_it(&m));
    OK(receive_it(&m, port));
    return (char *)m.memory.memory.address;
}

static void memory_that_was_given_back_faults(void)
{
    mach_port_t port = new_port();
    for (int n = 0; n < 10; n++) {
        char *got = received_block(port, n + 1);
        EXPECT(got[0], n + 1);
        EXPECT(got[BLOCK - 1], n + 1);
        /* Behind it, to the end of its page. */
        for (size_t behind = BLOCK; behind % vm_page_size != 0; behind++)
            EXPECT(got[behind], 0);
        memset(got + BLOCK, 0x77, 10);
        if (n % 2) {
            /* In pieces. */
            OK(vm_deallocate(self(), (vm_address_t)got, vm_page_size));
            EXPECT(can_read(got), 0);
            EXPECT(can_read(got + vm_page_size), 1);
            OK(vm_deallocate(self(), (vm_address_t)got + vm_page_size, BLOCK - vm_page_size));
        } else {
            OK(vm_deallocate(self(), (vm_address_t)got, BLOCK));
        }
        EXPECT(can_read(got), 0);
        EXPECT(can_read(got + BLOCK - 1), 0);
    }
    drop_port(port);
}

static char *given_back(mach_port_t port)
{
    char *got = received_block(port, 3);
    OK(vm_deallocate(self(), (vm_address_t)got, BLOCK));
    return got;
}

static void memory_that_was_given_back_is_free(void)
{
    mach_port_t port = new_port();
    any_message m;
    vm_offset_t copy;
    mach_msg_type_number_t count;
    char *got = given_back(port);
    EXPECT_CODE(vm_read(self(), (vm_address_t)got, 100, &copy, &count), KERN_INVALID_ADDRESS);
    start_with_block(&m, port, got);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_MEMORY);
    EXPECT_CODE(vm_protect(self(), (vm_address_t)got, vm_page_size, FALSE, VM_PROT_DEFAULT), KERN_INVALID_ADDRESS);

    /* Whatever is put there stays the program's. */
    for (int overwrite = 0; overwrite <= VM_FLAGS_OVERWRITE; overwrite += VM_FLAGS_OVERWRITE) {
        got = given_back(port);
        vm_address_t place = (vm_address_t)got;
        OK(vm_allocate(self(), &place, vm_page_size, VM_FLAGS_FIXED | overwrite));
        EXPECT(place, (vm_address_t)got);
        memset(got, 9, vm_page_size);
        given_back(port);
        EXPECT(got[0], 9);
        EXPECT(got[vm_page_size - 1], 9);
        OK(vm_deallocate(self(), place, vm_page_size));
    }
    drop_port(port);
}

/* Not by vm_protect: nobody was told. */
static void memory_that_was_protected_is_received_into_again(void)
{
    mach_port_t port = new_port();
    for (int n = 1; n <= 3; n++) {
        char *got = received_block(port, n);
        OK(mprotect(got, n == 2 ? vm_page_size : BLOCK, PROT_READ));
        OK(vm_deallocate(self(), (vm_address_t)got, BLOCK));
        EXPECT(can_read(got), 0);
        got = received_block(port, n + 1);
        EXPECT(got[BLOCK - 1], n + 1);
        memset(got, 0x77, BLOCK);
        OK(vm_deallocate(self(), (vm_address_t)got, BLOCK));
    }
    drop_port(port);
}

CHECK_MAIN(CASE(allocated_memory_is_zero_and_goes), CASE(fixed_place_is_taken_only_if_free), CASE(protection_holds), CASE(copies_are_copies),
           CASE(aligned_map_is_aligned), CASE(entry_is_shared_by_its_holders), CASE(existing_memory_is_shared),
           CASE(regions_are_told), CASE(memory_that_was_given_back_faults),
           CASE(memory_that_was_given_back_is_free),
           CASE(memory_that_was_protected_is_received_into_again))
