/* Writes LLVM's raw profile (version 10, 32 bits) when the instrumented interpreter exits: what compiler-rt's profile
   library does elsewhere, which nobody builds for WASI. Layouts as in llvm/ProfileData/InstrProfData.inc. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int __llvm_profile_runtime;
extern const uint64_t __llvm_profile_raw_version;

struct data {
    uint64_t name, hash;
    uint32_t counters, bitmap, function;
    struct node **values;
    uint32_t counter_count;
    uint16_t sites[3]; /* indirect calls, sizes of memory operations, virtual tables */
    uint32_t bitmap_bytes;
};
struct node {
    uint64_t value, count;
    struct node *next;
};

extern struct data __start___llvm_prf_data[], __stop___llvm_prf_data[];
extern char __start___llvm_prf_cnts[], __stop___llvm_prf_cnts[];
extern char __start___llvm_prf_names[], __stop___llvm_prf_names[];

#define MOST_VALUES 16
static struct node nodes[400000];
static unsigned used;

static void count_value(uint64_t value, struct data *data, uint32_t site, uint64_t count) {
    if (data->values == NULL) {
        unsigned sites = data->sites[0] + data->sites[1] + data->sites[2];
        data->values = calloc(sites, sizeof *data->values);
        if (data->values == NULL) return;
    }
    struct node **place = &data->values[site], *least = NULL;
    unsigned length = 0;
    for (; *place; place = &(*place)->next, length++) {
        if ((*place)->value == value) { (*place)->count += count; return; }
        if (least == NULL || (*place)->count < least->count) least = *place;
    }
    if (length >= MOST_VALUES || used == sizeof nodes / sizeof *nodes) {
        if (least && least->count <= count) { least->value = value; least->count = count; }
        else if (least) least->count -= count;
        return;
    }
    *place = &nodes[used++];
    (*place)->value = value;
    (*place)->count = count;
}
void __llvm_profile_instrument_target(uint64_t value, void *data, uint32_t site) { count_value(value, data, site, 1); }
void __llvm_profile_instrument_memop(uint64_t size, void *data, uint32_t site) {
    /* Sizes above 8 are ranges, named by their first: see InstrProfGetRangeRepValue. */
    if (size >= 513) size = 513;
    else if (size > 8 && (size & (size - 1))) size = (1ull << (63 - __builtin_clzll(size))) + 1;
    count_value(size, data, site, 1);
}

static void padding(FILE *file, size_t bytes) { while (bytes--) fputc(0, file); }

static void write_values(FILE *file, const struct data *data) {
    unsigned kinds = 0, size = 8;
    for (int kind = 0; kind < 3; kind++) kinds += data->sites[kind] != 0;
    if (kinds == 0) return;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) { uint32_t head[2] = {size, kinds}; fwrite(head, 4, 2, file); }
        for (unsigned kind = 0, site = 0; kind < 3; site += data->sites[kind++]) {
            unsigned count = data->sites[kind];
            if (count == 0) continue;
            unsigned length = (8 + count + 7) / 8 * 8;
            if (pass == 0) size += length; else {
                uint32_t head[2] = {kind, count};
                fwrite(head, 4, 2, file);
            }
            for (unsigned i = 0; i < count; i++) {
                unsigned number = 0;
                if (data->values) for (struct node *node = data->values[site + i]; node; node = node->next) number++;
                if (pass == 0) size += 16 * number; else fputc(number, file);
            }
            if (pass == 1) {
                padding(file, length - 8 - count);
                if (data->values) for (unsigned i = 0; i < count; i++)
                    for (struct node *node = data->values[site + i]; node; node = node->next)
                        fwrite(&node->value, 8, 2, file);
            }
        }
    }
}

__attribute__((destructor)) static void write_profile(void) {
    const char *path = getenv("PROFILE_FILE");
    FILE *file = path ? fopen(path, "wb") : NULL;
    if (file == NULL) return;
    uint32_t data = (uint32_t)__start___llvm_prf_data, data_end = (uint32_t)__stop___llvm_prf_data;
    uint32_t counters = (uint32_t)__start___llvm_prf_cnts, counters_end = (uint32_t)__stop___llvm_prf_cnts;
    uint32_t names = (uint32_t)__start___llvm_prf_names, names_size = (uint32_t)__stop___llvm_prf_names - names;
    uint64_t head[16] = {
        (uint64_t)255 << 56 | (uint64_t)'l' << 48 | (uint64_t)'p' << 40 | (uint64_t)'r' << 32 | 'o' << 24 | 'f' << 16
            | 'R' << 8 | 129,
        __llvm_profile_raw_version, 0, (data_end - data) / sizeof(struct data), 0, (counters_end - counters) / 8, 0, 0, 0,
        names_size, counters - data, 0, names, 0, 0, 2};
    fwrite(head, 8, 16, file);
    fwrite((void *)data, 1, data_end - data, file);
    fwrite((void *)counters, 1, counters_end - counters, file);
    fwrite((void *)names, 1, names_size, file);
    padding(file, (8 - names_size % 8) % 8);
    for (struct data *each = (struct data *)data; each < (struct data *)data_end; each++) write_values(file, each);
    fclose(file);
}
