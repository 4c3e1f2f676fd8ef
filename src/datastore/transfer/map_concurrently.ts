/** Calls for many things, some of them at a time. */

/** One after the other, the shortest leases of a large network would expire before the last is read. */
const AT_ONCE = 32;

/** The answers in the order of the items. Throws the first failure, after which no call is begun. */
export async function mapConcurrently<Item, Answer>(
  items: readonly Item[],
  call: (item: Item) => Promise<Answer>,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  for (let start = 0; start < items.length; start += AT_ONCE) {
    answers.push(...await Promise.all(items.slice(start, start + AT_ONCE).map(call)));
  }
  return answers;
}
