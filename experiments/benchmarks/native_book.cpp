// A price-time limit order book as one writes it for one core: the yardstick of book.py.
//
// A level is a queue of orders linked through their own memory, the levels of a side are an array over prices, and an
// order is found by its id. Ids are those of the stream, the message's place in it, so that table is an array too; a
// book for any ids would pay for a hash. Nothing is bounded: the streams are those that overflow no side.

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr int32_t LIMIT = 1, MARKET = 2, IMMEDIATE_OR_CANCEL = 3, CANCEL = 4;  // MessageKind
constexpr int32_t NOBODY = -1;

struct Order {
    int32_t lots;  // 0: not at rest
    int32_t key;   // ticks, -price of a bid and price of an ask: ascends with falling priority
    int32_t side;  // 0 bid, 1 ask
    int32_t owner, expiry, next, previous;
};

struct Level {
    int32_t first = NOBODY, last = NOBODY;
};

struct Book {
    const int32_t radius;  // keys run from -radius to radius
    std::vector<Order> orders;  // by id
    std::vector<Level> levels[2];  // by key + radius
    int32_t best[2];  // the first level with an order; 2 radius + 1 where there is none

    Book(int32_t radius, int32_t n_ids) : radius(radius), orders(n_ids) {
        for (auto& side : levels) side.resize(2 * radius + 1);
    }

    void clear() {
        for (auto& order : orders) order.lots = 0;
        for (auto& side : levels) std::fill(side.begin(), side.end(), Level{});
        best[0] = best[1] = 2 * radius + 1;
    }

    void remove(int32_t id) {
        const Order& order = orders[id];
        Level& level = levels[order.side][order.key + radius];
        (order.previous == NOBODY ? level.first : orders[order.previous].next) = order.next;
        (order.next == NOBODY ? level.last : orders[order.next].previous) = order.previous;
        orders[id].lots = 0;
        int32_t& at = best[order.side];
        while (at <= 2 * radius && levels[order.side][at].first == NOBODY) ++at;
    }

    void rest(int32_t id, int32_t side, int32_t key, int32_t lots, int32_t owner, int32_t expiry) {
        Level& level = levels[side][key + radius];
        orders[id] = {lots, key, side, owner, expiry, NOBODY, level.last};
        (level.last == NOBODY ? level.first : orders[level.last].next) = id;
        level.last = id;
        best[side] = std::min(best[side], key + radius);
    }

    void cancel(int32_t id, int32_t lots) {
        if (id < 0 || id >= static_cast<int32_t>(orders.size()) || orders[id].lots == 0) return;
        if (lots == 0 || lots >= orders[id].lots) remove(id);
        else orders[id].lots -= lots;
    }
};

struct Columns {
    const int32_t *kind, *side, *price, *quantity, *id, *owner, *expiry;  // of one book's stream
};

struct Bounds {
    int32_t n_owners, price, quantity;  // of a valid order
};

bool sound(const Columns& m, int64_t i, const Bounds& bounds) {
    const bool priced = m.kind[i] == LIMIT || m.kind[i] == IMMEDIATE_OR_CANCEL;
    return (priced || m.kind[i] == MARKET) && (m.side[i] == 1 || m.side[i] == -1) && m.quantity[i] > 0 &&
           m.quantity[i] <= bounds.quantity && m.owner[i] >= 0 && m.owner[i] < bounds.n_owners &&
           (!priced || (m.price[i] >= -bounds.price && m.price[i] <= bounds.price));
}

void process(Book& book, const Columns& m, int64_t i, const Bounds& bounds, int32_t& filled, int32_t& money) {
    filled = money = 0;
    if (m.kind[i] == CANCEL && m.quantity[i] >= 0) return book.cancel(m.id[i], m.quantity[i]);
    if (!sound(m, i, bounds) || book.orders[m.id[i]].lots > 0) return;
    const int32_t own = m.side[i] > 0 ? 0 : 1, other = 1 - own;
    const int32_t reach = m.side[i] * m.price[i];
    const int32_t last = m.kind[i] == MARKET ? 2 * book.radius : reach + book.radius;
    int32_t left = m.quantity[i];
    while (left > 0 && book.best[other] <= last) {
        const int32_t id = book.levels[other][book.best[other]].first;
        Order& resting = book.orders[id];
        const int32_t traded = std::min(left, resting.lots);
        left -= traded;
        filled += traded;
        money += traded * m.side[i] * resting.key;
        if (traded == resting.lots) book.remove(id);
        else resting.lots -= traded;
    }
    if (m.kind[i] == LIMIT && left > 0) book.rest(m.id[i], own, -reach, left, m.owner[i], m.expiry[i]);
}

}  // namespace

// Plays n_books streams of n_messages messages, columns [n_books, n_messages] each, from empty books. Gives lots and
// money [n_books, n_messages] of every message, and the orders at rest in the end in priority, best first: count
// [n_books, 2], price, size, id and owner [n_books, 2, capacity]. Returns the most orders that ended on a side, which
// must be at most capacity for the rows to be whole; ids must be from 0 to n_messages - 1, |price| at most radius.
extern "C" int32_t play(int64_t n_books, int64_t n_messages, int32_t capacity, int32_t radius, int32_t n_owners,
                        int32_t max_price, int32_t max_quantity, const int32_t* const columns[7], int32_t* lots,
                        int32_t* money, int32_t* count, int32_t* const rows[4]) {
    const Bounds bounds{n_owners, max_price, max_quantity};
    Book book(radius, static_cast<int32_t>(n_messages));
    int32_t most = 0;
    for (int64_t b = 0; b < n_books; ++b) {
        const int64_t at = b * n_messages;
        const Columns stream{columns[0] + at, columns[1] + at, columns[2] + at, columns[3] + at,
                             columns[4] + at, columns[5] + at, columns[6] + at};
        book.clear();
        for (int64_t i = 0; i < n_messages; ++i) process(book, stream, i, bounds, lots[at + i], money[at + i]);
        for (int32_t side = 0; side < 2; ++side) {
            int32_t n = 0;
            for (int32_t level = book.best[side]; level <= 2 * radius; ++level)
                for (int32_t id = book.levels[side][level].first; id != NOBODY; id = book.orders[id].next, ++n) {
                    if (n >= capacity) continue;
                    const Order& order = book.orders[id];
                    const int64_t slot = (2 * b + side) * capacity + n;
                    rows[0][slot] = side == 0 ? -order.key : order.key;
                    rows[1][slot] = order.lots;
                    rows[2][slot] = id;
                    rows[3][slot] = order.owner;
                }
            count[2 * b + side] = n;
            most = std::max(most, n);
        }
    }
    return most;
}
