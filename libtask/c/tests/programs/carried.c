/* What messages carry: rights by each disposition, memory, arrays of rights, guarded rights, in any mixture. */
#include "check.h"

#include <sys/mman.h>

static void carry(any_message *m, mach_port_t dest, mach_port_t name, unsigned disposition)
{
    start_complex(m, dest, MACH_MSG_TYPE_MAKE_SEND, sizeof m->port, 1);
    m->port.port.name = name;
    m->port.port.disposition = (unsigned char)disposition;
    m->port.port.type = MACH_MSG_PORT_DESCRIPTOR;
}

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
        carry(&m, dest, port, all[n].sent);
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
    carry(&m, dest, port, MACH_MSG_TYPE_COPY_SEND);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    carry(&m, dest, 0x7fffff03, MACH_MSG_TYPE_COPY_SEND);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    carry(&m, dest, port, MACH_MSG_TYPE_COPY_RECEIVE);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    carry(&m, dest, port, 3);
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_RIGHT);
    carry(&m, dest, port, MACH_MSG_TYPE_MAKE_SEND);
    m.port.port.type = 9;
    EXPECT_CODE(send_it(&m), MACH_SEND_INVALID_TYPE);
    /* Descriptors that are not there. */
    carry(&m, dest, port, MACH_MSG_TYPE_MAKE_SEND);
    m.port.base.body.msgh_descriptor_count = 2;
    EXPECT_CODE(send_it(&m), MACH_SEND_MSG_TOO_SMALL);
    start_complex(&m, dest, MACH_MSG_TYPE_MAKE_SEND, 24, 1);
    EXPECT_CODE(send_it(&m), MACH_SEND_MSG_TOO_SMALL);
    expect_nothing(dest);
    drop_port(port);
    drop_port(dest);
}

static void null_and_dead_are_carried(void)
{
    mach_port_t dest = new_port();
    any_message m;
    carry(&m, dest, MACH_PORT_NULL, MACH_MSG_TYPE_COPY_SEND);
    OK(send_it(&m));
    OK(receive_it(&m, dest));
    EXPECT(m.port.port.name, MACH_PORT_NULL);
    carry(&m, dest, MACH_PORT_DEAD, MACH_MSG_TYPE_MOVE_SEND);
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
           CASE(everything_together_arrives_in_order))
