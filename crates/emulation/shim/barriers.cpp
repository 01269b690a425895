// Where threads wait for each other.

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "block.h"

namespace emulation {

namespace {

bool is_in(unsigned int lane, unsigned int mask) {
    return (mask >> lane & 1) != 0;
}

unsigned int lowest_lane(unsigned int mask) {
    return static_cast<unsigned int>(__builtin_ctz(mask));
}

bool is_same(Site a, Site b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

bool wait_alike(const Thread &a, const Thread &b) {
    return a.state == b.state && is_same(a.site, b.site) && (a.state == State::AtBlockBarrier || a.mask == b.mask);
}

std::string described(Site site) {
    const char *slash = std::strrchr(site.file, '/');
    return std::string(slash == nullptr ? site.file : slash + 1) + ":" + std::to_string(site.line);
}

std::string described(uint3 place) {
    return "(" + std::to_string(place.x) + ", " + std::to_string(place.y) + ", " + std::to_string(place.z) + ")";
}

// `count` threads that wait as this one, the first of them, does.
std::string described(const Thread &first, std::size_t count) {
    std::string text = std::to_string(count) + (count == 1 ? " thread from " : " threads from ") + described(first.index);
    if (first.state == State::AtBlockBarrier) {
        return text + " at the block barrier of " + described(first.site);
    }
    char mask[16];
    std::snprintf(mask, sizeof mask, "0x%08x", first.mask);
    return text + " at the warp operation of " + described(first.site) + " with mask " + mask;
}

template <typename Action>
void for_each_lane(unsigned int mask, Action action) {
    for (unsigned int rest = mask; rest != 0; rest &= rest - 1) {
        action(lowest_lane(rest));
    }
}

template <typename Predicate>
bool all_of_lanes(unsigned int mask, Predicate holds) {
    for (unsigned int rest = mask; rest != 0; rest &= rest - 1) {
        if (!holds(lowest_lane(rest))) {
            return false;
        }
    }
    return true;
}

}  // namespace

void Block::wait_for_block(Site site) {
    Thread &thread = threads_[running_];
    thread.state = State::AtBlockBarrier;
    thread.site = site;
    ++at_barrier_;
    complete_block_barrier();
    leave();
}

unsigned int Block::wait_for_warp(
    Operation operation, unsigned int mask, unsigned int value, unsigned int source, Site site
) {
    Thread &thread = threads_[running_];
    thread.state = State::AtWarpOperation;
    thread.site = site;
    thread.operation = operation;
    thread.mask = mask;
    thread.value = value;
    thread.source = source;
    warps_[running_ / 32].waiting |= 1u << lane();
    if (is_in(lane(), mask)) {
        complete_warp_operation(running_ / 32, mask);
    } else {
        fail(Outcome::Divergence, "lane " + std::to_string(lane()) + " is not in its own mask: " + waiting_threads());
    }
    leave();
    return thread.value;
}

// A thread that returned counts as arrived wherever others wait for it.
void Block::finish_thread() {
    threads_[running_].state = State::Finished;
    ++finished_;
    complete_block_barrier();
    const std::size_t warp = running_ / 32;
    warps_[warp].unfinished &= ~(1u << lane());
    for_each_lane(warps_[warp].waiting, [&](unsigned int i) {
        // An earlier one may have completed it.
        if (is_in(i, warps_[warp].waiting)) {
            complete_warp_operation(warp, threads_[warp * 32 + i].mask);
        }
    });
}

void Block::complete_block_barrier() {
    if (at_barrier_ == 0 || at_barrier_ + finished_ < threads_.size()) {
        return;
    }
    const auto waits = [](const Thread &thread) { return thread.state == State::AtBlockBarrier; };
    const auto first = std::find_if(threads_.begin(), threads_.end(), waits);
    for (const Thread &thread : threads_) {
        if (waits(thread) && !is_same(thread.site, first->site)) {
            fail(Outcome::Divergence, waiting_threads());
            return;
        }
    }
    for (Thread &thread : threads_) {
        if (waits(thread)) {
            thread.state = State::Ready;
        }
    }
    at_barrier_ = 0;
}

void Block::complete_warp_operation(std::size_t warp, unsigned int mask) {
    const unsigned int group = mask & warps_[warp].unfinished;
    if ((group & ~warps_[warp].waiting) != 0) {
        return;
    }
    Thread *const lanes = &threads_[warp * 32];
    // A lane with another mask waits for others first.
    const auto has_this_mask = [&](unsigned int i) { return lanes[i].mask == mask; };
    if (!all_of_lanes(group, has_this_mask) || !exchange_values(lanes, group)) {
        return;
    }
    warps_[warp].waiting &= ~group;
    for_each_lane(group, [&](unsigned int i) { lanes[i].state = State::Ready; });
}

bool Block::exchange_values(Thread *lanes, unsigned int group) {
    const Operation operation = lanes[lowest_lane(group)].operation;
    if (!all_of_lanes(group, [&](unsigned int i) { return lanes[i].operation == operation; })) {
        fail(Outcome::Divergence, "different operations meet in a warp: " + waiting_threads());
        return false;
    }
    const auto reads_the_group = [&](unsigned int i) { return is_in(lanes[i].source, group); };
    if (operation == Operation::Shuffle && !all_of_lanes(group, reads_the_group)) {
        fail(Outcome::Divergence, "a lane reads one that takes no part: " + waiting_threads());
        return false;
    }
    unsigned int given[32] = {};
    unsigned int ballot = 0;
    for_each_lane(group, [&](unsigned int i) {
        given[i] = lanes[i].value;
        ballot |= (given[i] != 0 ? 1u : 0u) << i;
    });
    for_each_lane(group, [&](unsigned int i) {
        lanes[i].value = operation == Operation::Ballot ? ballot : given[lanes[i].source];
    });
    return true;
}

void Block::fail(Outcome outcome, const std::string &what) {
    outcome_ = outcome;
    message_ = "block " + described(blockIdx) + ": " + what;
}

std::string Block::waiting_threads() const {
    struct Group {
        const Thread *first;
        std::size_t count;
    };
    std::vector<Group> groups;
    for (const Thread &thread : threads_) {
        if (thread.state != State::AtBlockBarrier && thread.state != State::AtWarpOperation) {
            continue;
        }
        const auto same = [&](const Group &group) { return wait_alike(*group.first, thread); };
        const auto group = std::find_if(groups.begin(), groups.end(), same);
        if (group == groups.end()) {
            groups.push_back({&thread, 1});
        } else {
            ++group->count;
        }
    }
    std::string text;
    for (const Group &group : groups) {
        text += text.empty() ? "" : "; ";
        text += described(*group.first, group.count);
    }
    return text;
}

}  // namespace emulation
