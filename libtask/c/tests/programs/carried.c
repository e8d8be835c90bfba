/* What messages carry: rights by each disposition, memory, arrays of rights, guarded rights, in any mixture. */
#include "check.h"

#include <sys/mman.h>

/* From the receive right, so that no send right is needed. */
static void pack(any_message *m, mach_port_t dest, mach_port_t name, unsigned disposition)
{
    carry(m, dest, name, disposition);
    m->header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0) | MACH_MSGH_BITS_COMPLEX;
}

/* s1_2_disposition_values */
static void rights_arrive_by_each_disposition(void)
{
    static const struct {
        unsigned sent, received;
    } all[] = {{MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_PORT_SEND},
               {MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_PORT_SEND},
               {MACH_MSG_TYPE_MAKE_SEND, MACH_MSG_TYPE_PORT_SEND},
               {MACH_MSG_TYPE_MAKE_SEND_ONCE, MACH_MSG_TYPE_PORT_SEND_ONCE},
               {MACH_MSG_TYPE_MOVE_RECEIVE, MACH_MSG_TYPE_PORT_RECEIVE}};
    mach_port_t dest = new_port();
    for (unsigned n = 0; n < sizeof all / sizeof all[0]; n++) {
        mach_port_t port = new_port_with_send();
        any_message m;
        pack(&m, dest, port, all[n].sent);
        OK(send_it(&m));
        if (all[n].sent == MACH_MSG_TYPE_MOVE_SEND)
            EXPECT(type_of(port), MACH_PORT_TYPE_RECEIVE);
        if (all[n].sent == MACH_MSG_TYPE_MOVE_RECEIVE)
            EXPECT(type_of(port), MACH_PORT_TYPE_SEND);
        OK(receive_it(&m, dest));
        TRUE_THAT(MACH_MSGH_BITS_IS_COMPLEX(m.header.msgh_bits));
        EXPECT(m.port.base.body.msgh_descriptor_count, 1);
        EXPECT(m.port.port.type, MACH_MSG_PORT_DESCRIPTOR);
        EXPECT(m.port.port.disposition, all[n].received);
        if (all[n].received == MACH_MSG_TYPE_PORT_SEND_ONCE) {
            TRUE_THAT(m.port.port.name != port);
            OK(mach_port_deallocate(mach_task_self(), m.port.port.name));
        } else {
            EXPECT(m.port.port.name, port);
        }
        OK(mach_port_destroy(mach_task_self(), port));
    }
    drop_port(dest);
}

static void bad_rights_in_the_body_are_refused(void)
{
    mach_port_t dest = new_port(), port = new_port();
    any_message m;
    pack(&m, dest, port, MACH_MSG_TYPE_COPY_SEND);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    pack(&m, dest, 0x7fffff03, MACH_MSG_TYPE_COPY_SEND);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    pack(&m, dest, port, MACH_MSG_TYPE_COPY_RECEIVE);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    pack(&m, dest, port, 3);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    pack(&m, dest, port, MACH_MSG_TYPE_MAKE_SEND);
    m.port.port.type = 9;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_TYPE);
    /* Descriptors that are not there. */
    pack(&m, dest, port, MACH_MSG_TYPE_MAKE_SEND);
    m.port.base.body.msgh_descriptor_count = 2;
    EXPECT_CODE(send_it(&m), MACH_SEND_MSG_TOO_SMALL);
    start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_MSG_TOO_SMALL);
    expect_nothing(dest);
    drop_port(port);
    drop_port(dest);
}

/* s1_2_null_and_dead_are_carried */
static void null_and_dead_are_carried(void)
{
    mach_port_t dest = new_port();
    any_message m;
    pack(&m, dest, MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND);
    OK(send_it(&m));
    OK(receive_it(&m, dest));
    EXPECT(m.port.port.name, MACH_PORT_NULL);
    pack(&m, dest, MACH_PORT_DEAD, MACH_MSG_TYPE_MOVE_SEND);
    OK(send_it(&m));
    OK(receive_it(&m, dest));
    EXPECT(m.port.port.name, MACH_PORT_DEAD);
    drop_port(dest);
}

static void *filled(size_t size, unsigned seed)
{
    vm_address_t at = 0;
    OK(vm_allocate(mach_task_self(), &at, size, VM_FLAGS_ANYWHERE));
    for (size_t n = 0; n < size; n++)
        ((unsigned char *)at)[n] = (unsigned char)(n * 7 + seed);
    return (void *)at;
}

static void expect_filled(const void *at, size_t size, unsigned seed)
{
    for (size_t n = 0; n < size; n++)
        if (((const unsigned char *)at)[n] != (unsigned char)(n * 7 + seed)) {
            EXPECT(((const unsigned char *)at)[n], (unsigned char)(n * 7 + seed));
            return;
        }
}

static void with_memory(any_message *m, mach_port_t dest, void *address, mach_msg_size_t size, boolean_t deallocate, unsigned copy)
{
    start_complex(m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m->memory, 1);
    m->memory.memory.address = address;
    m->memory.memory.size = size;
    m->memory.memory.deallocate = (unsigned char)deallocate;
    m->memory.memory.copy = (unsigned char)copy;
    m->memory.memory.type = MACH_MSG_OOL_DESCRIPTOR;
    m->memory.after = 0x600d600d;
}

static int is_mapped(const void *at)
{
    unsigned char what;
    return mincore((void *)((uintptr_t)at & ~(uintptr_t)(vm_page_size - 1)), 1, &what) == 0;
}

/* s1_9_memory_is_a_snapshot s1_9_copy_option */
static void memory_is_a_snapshot_that_the_receiver_owns(void)
{
    static const size_t sizes[] = {1, 100, 4096, 5000, 32768, 65536, 70001, 1 << 20, 20 << 20};
    mach_port_t dest = new_port();
    for (unsigned copy = 0; copy < 2; copy++)
        for (unsigned n = 0; n < sizeof sizes / sizeof sizes[0]; n++) {
            size_t size = sizes[n];
            void *data = filled(size, n);
            any_message m;
            with_memory(&m, dest, data, (mach_msg_size_t)size, FALSE, copy);
            OK(send_it(&m));
            memset(data, 0, size);
            OK(receive_it(&m, dest));
            EXPECT(m.memory.memory.type, MACH_MSG_OOL_DESCRIPTOR);
            EXPECT(m.memory.memory.size, size);
            EXPECT(m.memory.memory.deallocate, copy);
            EXPECT(m.memory.memory.copy, copy);
            EXPECT(m.memory.after, 0x600d600d);
            expect_filled(m.memory.memory.address, size, n);
            EXPECT((uintptr_t)m.memory.memory.address % vm_page_size, 0);
            /* It can be written, and is gone when it is given back. */
            memset(m.memory.memory.address, 1, size);
            OK(vm_deallocate(mach_task_self(), (vm_address_t)m.memory.memory.address, size));
            OK(vm_deallocate(mach_task_self(), (vm_address_t)data, size));
        }
    drop_port(dest);
}

/* s1_9_deallocate_moves */
static void memory_given_away_is_gone(void)
{
    mach_port_t dest = new_port();
    any_message m;
    void *data = filled(100000, 3);
    with_memory(&m, dest, data, 100000, TRUE, MACH_MSG_VIRTUAL_COPY);
    OK(send_it(&m));
    EXPECT(is_mapped(data), 0);
    OK(receive_it(&m, dest));
    expect_filled(m.memory.memory.address, 100000, 3);
    mach_msg_destroy(&m.header);

    /* Not if nothing was taken. */
    data = filled(100000, 3);
    with_memory(&m, MACH_PORT_DEAD, data, 100000, TRUE, MACH_MSG_VIRTUAL_COPY);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_DEST);
    EXPECT(is_mapped(data), 1);
    OK(vm_deallocate(mach_task_self(), (vm_address_t)data, 100000));
    drop_port(dest);
}

static void memory_comes_back_from_a_full_queue(void)
{
    mach_port_t dest = new_port_with_send();
    any_message m;
    for (int n = 0; n < 5; n++) {
        start_message(&m, dest, MACH_MSG_TYPE_COPY_SEND, 24, n);
        OK(send_it(&m));
    }
    static const size_t sizes[] = {1000, 200000};
    for (unsigned n = 0; n < 2; n++) {
        void *data = filled(sizes[n], 5);
        with_memory(&m, dest, data, (mach_msg_size_t)sizes[n], TRUE, MACH_MSG_VIRTUAL_COPY);
        EXPECT_CODE(send_it(&m), MACH_SEND_TIMED_OUT);
        /* Here or elsewhere. */
        expect_filled(m.memory.memory.address, sizes[n], 5);
        OK(vm_deallocate(mach_task_self(), (vm_address_t)m.memory.memory.address, sizes[n]));
    }
    drop_port(dest);
    OK(mach_port_deallocate(mach_task_self(), dest));
}

/* s1_9_memory_that_cannot_be_sent s1_9_size_zero s1_9_copy_option */
static void memory_that_is_none_is_refused(void)
{
    mach_port_t dest = new_port();
    any_message m;
    with_memory(&m, dest, (void *)16, 10, FALSE, MACH_MSG_VIRTUAL_COPY);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_MEMORY);
    with_memory(&m, dest, (void *)(uintptr_t)-4096, 8192, FALSE, MACH_MSG_PHYSICAL_COPY);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_MEMORY);
    char *pages = (char *)mmap(NULL, 3 * vm_page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(pages + vm_page_size, vm_page_size, PROT_NONE);
    with_memory(&m, dest, pages, (mach_msg_size_t)(3 * vm_page_size), FALSE, MACH_MSG_VIRTUAL_COPY);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_MEMORY);
    munmap(pages, 3 * vm_page_size);
    with_memory(&m, dest, pages, 0, FALSE, MACH_MSG_VIRTUAL_COPY);
    OK(send_it(&m));
    OK(receive_it(&m, dest));
    EXPECT(m.memory.memory.address, 0);
    EXPECT(m.memory.memory.size, 0);
    int here = 0;
    with_memory(&m, dest, &here, 4, FALSE, 2);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_TYPE);
    expect_nothing(dest);
    drop_port(dest);
}

/* s1_9_port_arrays */
static void arrays_of_rights_arrive(void)
{
    mach_port_t dest = new_port(), ports[50];
    for (int n = 0; n < 50; n++)
        ports[n] = n == 7 ? MACH_PORT_NULL : new_port();
    any_message m;
    start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m.ports, 1);
    m.ports.ports.address = ports;
    m.ports.ports.count = 50;
    m.ports.ports.disposition = MACH_MSG_TYPE_MAKE_SEND;
    m.ports.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    OK(send_it(&m));
    OK(receive_it(&m, dest));
    EXPECT(m.ports.ports.count, 50);
    EXPECT(m.ports.ports.disposition, MACH_MSG_TYPE_PORT_SEND);
    EXPECT(m.ports.ports.deallocate, 1);
    EXPECT(m.ports.ports.copy, MACH_MSG_VIRTUAL_COPY);
    EXPECT(memcmp(m.ports.ports.address, ports, sizeof ports), 0);
    EXPECT(type_of(ports[0]), MACH_PORT_TYPE_SEND_RECEIVE);
    mach_msg_destroy(&m.header);
    EXPECT(type_of(ports[0]), MACH_PORT_TYPE_RECEIVE);

    start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m.ports, 1);
    m.ports.ports.address = (void *)64;
    m.ports.ports.count = 5;
    m.ports.ports.disposition = MACH_MSG_TYPE_MAKE_SEND;
    m.ports.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_MEMORY);
    for (int n = 0; n < 50; n++)
        if (ports[n])
            drop_port(ports[n]);
    drop_port(dest);
}

/* s1_4_guarded_descriptors_only_when_asked_for */
static void guarded_right_arrives_as_asked_for(void)
{
    mach_port_t dest = new_port(), port;
    for (int asked = 0; asked < 2; asked++) {
        port = new_port();
        OK(mach_port_guard_with_flags(mach_task_self(), port, 0xabc, 0));
        any_message m;
        start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m.guarded, 1);
        m.guarded.guarded.context = 0xabc;
        m.guarded.guarded.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
        m.guarded.guarded.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
        m.guarded.guarded.name = port;
        OK(send_it(&m));
        memset(&m, 0, sizeof m);
        mach_msg_option_t option = MACH_RCV_MSG | MACH_RCV_TIMEOUT | (asked ? MACH_RCV_GUARDED_DESC : 0);
        OK(mach_msg(&m.header, option, 0, sizeof m, dest, 0, 0));
        if (asked) {
            EXPECT(m.guarded.guarded.type, MACH_MSG_GUARDED_PORT_DESCRIPTOR);
            EXPECT(m.guarded.guarded.disposition, MACH_MSG_TYPE_PORT_RECEIVE);
            OK(mach_port_destroy(mach_task_self(), m.guarded.guarded.name));
        } else {
            EXPECT(m.port.port.type, MACH_MSG_PORT_DESCRIPTOR);
            OK(mach_port_destroy(mach_task_self(), m.port.port.name));
        }
    }
    drop_port(dest);
}

static void start_guarded(any_message *m, mach_port_t dest, mach_port_t name, mach_port_context_t guard, unsigned flags)
{
    start_complex(m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m->guarded, 1);
    m->guarded.guarded.context = guard;
    m->guarded.guarded.flags = flags & 0xffff;
    m->guarded.guarded.disposition = MACH_MSG_TYPE_MOVE_RECEIVE;
    m->guarded.guarded.type = MACH_MSG_GUARDED_PORT_DESCRIPTOR;
    m->guarded.guarded.name = name;
}

static void take_guarded(any_message *m, mach_port_t dest)
{
    memset(m, 0, sizeof *m);
    OK(mach_msg(&m->header, MACH_RCV_MSG | MACH_RCV_TIMEOUT | MACH_RCV_GUARDED_DESC, 0, sizeof *m, dest, 2000, 0));
    EXPECT(m->guarded.guarded.type, MACH_MSG_GUARDED_PORT_DESCRIPTOR);
}

/* s1_9_guarded_descriptors */
static void guards_in_descriptors(void)
{
    mach_port_t self = mach_task_self(), dest = new_port(), name = new_port();
    any_message m;
    /* Who knows a strict guard can move the right after all. */
    OK(mach_port_guard(self, name, 0x11, TRUE));
    start_guarded(&m, dest, name, 0x12, 0);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    EXPECT(type_of(name), MACH_PORT_TYPE_RECEIVE);
    start_guarded(&m, dest, name, 0x11, 0);
    OK(send_it(&m));
    take_guarded(&m, dest);
    name = m.guarded.guarded.name;
    /* The receiver can be given one that it cannot move, guarded with a value that the message tells it. */
    start_guarded(&m, dest, name, 0, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE);
    OK(send_it(&m));
    take_guarded(&m, dest);
    name = m.guarded.guarded.name;
    EXPECT(m.guarded.guarded.flags, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE);
    mach_port_context_t guard = m.guarded.guarded.context;
    TRUE_THAT(guard != 0);
    pack(&m, dest, name, MACH_MSG_TYPE_MOVE_RECEIVE);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    OK(mach_port_destruct(self, name, 0, guard));
    /* One that is given up with its message is guarded too. */
    name = new_port();
    mach_port_t ends = new_port();
    OK(mach_port_insert_right(self, name, name, MACH_MSG_TYPE_MAKE_SEND));
    request(name, MACH_NOTIFY_DEAD_NAME, 0, ends);
    start_guarded(&m, dest, name, 0, MACH_MSG_GUARD_FLAGS_IMMOVABLE_RECEIVE | MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND);
    OK(send_it(&m));
    take_guarded(&m, dest);
    EXPECT(m.guarded.guarded.name, name);
    mach_msg_destroy(&m.header);
    EXPECT(notice(ends, MACH_NOTIFY_DEAD_NAME), name);
    OK(mach_port_mod_refs(self, name, MACH_PORT_RIGHT_DEAD_NAME, -2));
    drop_port(ends);
    /* The sender says that it has taken the guard off: then there must be none. */
    name = new_port();
    start_guarded(&m, dest, name, 0, MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND);
    OK(send_it(&m));
    take_guarded(&m, dest);
    name = m.guarded.guarded.name;
    OK(mach_port_guard(self, name, 0x13, FALSE));
    start_guarded(&m, dest, name, 0, MACH_MSG_GUARD_FLAGS_UNGUARDED_ON_SEND);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    OK(mach_port_destruct(self, name, 0, 0x13));
    /* Only receive rights, and only known flags. */
    name = new_port_with_send();
    start_guarded(&m, dest, name, 0, 4);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_TYPE);
    start_guarded(&m, dest, name, 0, 0);
    m.guarded.guarded.disposition = MACH_MSG_TYPE_COPY_SEND;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_TYPE);
    expect_nothing(dest);
    OK(mach_port_destroy(self, name));
    drop_port(dest);
}

/* s1_9_port_arrays */
static void arrays_have_one_disposition(void)
{
    static const unsigned char all[][2] = {{MACH_MSG_TYPE_COPY_SEND, MACH_MSG_TYPE_PORT_SEND},
                                           {MACH_MSG_TYPE_MAKE_SEND_ONCE, MACH_MSG_TYPE_PORT_SEND_ONCE},
                                           {MACH_MSG_TYPE_MOVE_SEND, MACH_MSG_TYPE_PORT_SEND},
                                           {MACH_MSG_TYPE_MOVE_RECEIVE, MACH_MSG_TYPE_PORT_RECEIVE}};
    mach_port_t dest = new_port(), names[4];
    any_message m;
    for (int n = 0; n < 4; n++)
        names[n] = new_port_with_send();
    for (unsigned turn = 0; turn <= COUNT(all); turn++) {
        start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m.ports, 1);
        m.ports.ports.address = names;
        m.ports.ports.count = 4;
        m.ports.ports.disposition = all[turn % COUNT(all)][0];
        m.ports.ports.copy = MACH_MSG_PHYSICAL_COPY;
        m.ports.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
        if (turn == COUNT(all)) {
            names[2] = new_set();
            EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
            break;
        }
        OK(send_it(&m));
        OK(receive_it(&m, dest));
        EXPECT(m.ports.ports.deallocate, 1);
        EXPECT(m.ports.ports.copy, MACH_MSG_VIRTUAL_COPY);
        EXPECT(m.ports.ports.disposition, all[turn][1]);
        EXPECT(m.ports.ports.count, 4);
        for (int n = 0; n < 4; n++) {
            mach_port_t got = ((mach_port_t *)m.ports.ports.address)[n];
            if (all[turn][1] == MACH_MSG_TYPE_PORT_SEND_ONCE)
                OK(mach_port_deallocate(mach_task_self(), got));
            else
                EXPECT(got, names[n]);
        }
        OK(vm_deallocate(mach_task_self(), (vm_address_t)m.ports.ports.address, 16));
    }
    start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m.ports, 1);
    m.ports.ports.address = names;
    m.ports.ports.count = 4;
    m.ports.ports.disposition = MACH_MSG_TYPE_COPY_SEND;
    m.ports.ports.copy = 2;
    m.ports.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_TYPE);
    drop_port(dest);
}

static void everything_together_arrives_in_order(void)
{
    struct {
        mach_msg_base_t base;
        mach_msg_port_descriptor_t port;
        mach_msg_ool_descriptor_t memory;
        mach_msg_ool_ports_descriptor_t ports;
        mach_msg_port_descriptor_t other;
        mach_msg_ool_descriptor_t big;
        uint32_t body[5];
        mach_msg_max_trailer_t trailer;
    } m;
    mach_port_t dest = new_port(), one = new_port(), two = new_port();
    void *big = filled(300000, 9);
    memset(&m, 0, sizeof m);
    m.base.header.msgh_bits = MACH_MSGH_BITS(MACH_MSG_TYPE_MAKE_SEND, 0) | MACH_MSGH_BITS_COMPLEX;
    m.base.header.msgh_remote_port = dest;
    m.base.body.msgh_descriptor_count = 5;
    m.port.name = one;
    m.port.disposition = MACH_MSG_TYPE_MAKE_SEND;
    m.memory.address = (void *)(uintptr_t)"a few bytes";
    m.memory.size = 12;
    m.memory.copy = MACH_MSG_VIRTUAL_COPY;
    m.memory.type = MACH_MSG_OOL_VOLATILE_DESCRIPTOR;
    m.ports.address = &two;
    m.ports.count = 1;
    m.ports.disposition = MACH_MSG_TYPE_MAKE_SEND_ONCE;
    m.ports.type = MACH_MSG_OOL_PORTS_DESCRIPTOR;
    m.other.name = two;
    m.other.disposition = MACH_MSG_TYPE_MAKE_SEND;
    m.big.address = big;
    m.big.size = 300000;
    m.big.deallocate = TRUE;
    m.big.copy = MACH_MSG_VIRTUAL_COPY;
    m.big.type = MACH_MSG_OOL_DESCRIPTOR;
    m.body[4] = 4711;
    mach_msg_size_t size = (mach_msg_size_t)(sizeof m - sizeof m.trailer);
    OK(mach_msg(&m.base.header, MACH_SEND_MSG, size, 0, 0, 0, 0));
    EXPECT(is_mapped(big), 0);
    memset(&m, 0, sizeof m);
    OK(mach_msg(&m.base.header, MACH_RCV_MSG | MACH_RCV_TRAILER_ELEMENTS(MACH_RCV_TRAILER_AV), 0, sizeof m, dest, 0, 0));
    EXPECT(m.base.header.msgh_size, size);
    EXPECT(m.port.name, one);
    EXPECT(strcmp((char *)m.memory.address, "a few bytes"), 0);
    EXPECT(type_of(*(mach_port_t *)m.ports.address), MACH_PORT_TYPE_SEND_ONCE);
    EXPECT(m.other.name, two);
    expect_filled(m.big.address, 300000, 9);
    EXPECT(m.body[4], 4711);
    EXPECT(m.trailer.msgh_trailer_size, sizeof m.trailer);
    mach_msg_destroy(&m.base.header);
    EXPECT(type_of(one), MACH_PORT_TYPE_RECEIVE);
    drop_port(one);
    drop_port(two);
    drop_port(dest);
}

CHECK_MAIN(CASE(rights_arrive_by_each_disposition), CASE(bad_rights_in_the_body_are_refused), CASE(null_and_dead_are_carried),
           CASE(memory_is_a_snapshot_that_the_receiver_owns), CASE(memory_given_away_is_gone), CASE(memory_comes_back_from_a_full_queue),
           CASE(memory_that_is_none_is_refused), CASE(arrays_of_rights_arrive), CASE(guarded_right_arrives_as_asked_for),
           CASE(guards_in_descriptors), CASE(arrays_have_one_disposition),
           CASE(everything_together_arrives_in_order))
