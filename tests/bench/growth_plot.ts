/** The plot of memory and start by number of leases, as SVG for light and dark pages. */

import type { GrowthSeries, Row } from "./table.ts";

const PANELS: readonly { readonly series: GrowthSeries; readonly title: string }[] = [
  { series: "resident", title: "resident memory, MiB" },
  { series: "anonymous", title: "without mapped files, MiB" },
  { series: "cpu", title: "CPU time of the start, s" },
];

const PANEL = { width: 240, height: 200, left: 46, top: 52, gap: 66 };
const WIDTH = PANEL.left + PANELS.length * (PANEL.width + PANEL.gap) - PANEL.gap + 24;
const HEIGHT = PANEL.top + PANEL.height + 66;

const STYLE = `
text{font:12px system-ui,sans-serif;fill:#1f2328}
.title{font-weight:600}
.axis{stroke:#d0d7de}
.ours{stroke:#0969da;fill:none;stroke-width:2}
.theirs{stroke:#bc4c00;fill:none;stroke-width:2;stroke-dasharray:6 4}
circle.ours{fill:#0969da}
circle.theirs{fill:#bc4c00;stroke-dasharray:none}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.axis{stroke:#3d444d}
.ours{stroke:#4493f8}
.theirs{stroke:#f0883e}
circle.ours{fill:#4493f8}
circle.theirs{fill:#f0883e}
}
`;

/** From the rows that are points of it. */
export function growthPlot(rows: readonly Row[]): string {
  const against = rows[0]?.against ?? "";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" ` +
    `height="${HEIGHT}" role="img" aria-labelledby="title">`,
    `<title id="title">Memory and CPU time of the start by number of leases, flanneld and ` +
    `${against}</title>`,
    `<style>${STYLE}</style>`,
    legend(against),
    ...PANELS.map(({ series, title }, index) => panel(rows, { series, title, index })),
    "</svg>",
    "",
  ].join("\n");
}

function legend(against: string): string {
  const y = 18;
  return `<line class="ours" x1="${PANEL.left}" y1="${y}" x2="${PANEL.left + 32}" y2="${y}"/>` +
    `<text x="${PANEL.left + 40}" y="${y + 4}">flanneld</text>` +
    `<line class="theirs" x1="${PANEL.left + 120}" y1="${y}" x2="${PANEL.left + 152}" y2="${y}"/>` +
    `<text x="${PANEL.left + 160}" y="${y + 4}">${against}</text>`;
}

interface Point {
  readonly leases: number;
  readonly ours: number;
  readonly theirs: number;
}

function panel(
  rows: readonly Row[],
  { series, title, index }: {
    readonly series: GrowthSeries;
    readonly title: string;
    readonly index: number;
  },
): string {
  const points = rows.flatMap(({ point, ours, theirs }): Point[] =>
    point?.series === series ? [{ leases: point.leases, ours, theirs }] : []
  ).toSorted((a, b) => a.leases - b.leases);
  const maxLeases = Math.max(1, ...points.map(({ leases }) => leases));
  const top = roundUp(Math.max(...points.flatMap(({ ours, theirs }) => [ours, theirs]), 0));
  const left = PANEL.left + index * (PANEL.width + PANEL.gap);
  const bottom = PANEL.top + PANEL.height;
  const x = (leases: number) => left + PANEL.width * leases / maxLeases;
  const y = (value: number) => bottom - PANEL.height * value / top;
  const line = (program: "ours" | "theirs") => {
    const path = points.map((point) => `${fixed(x(point.leases))},${fixed(y(point[program]))}`);
    const dots = points.map((point) =>
      `<circle class="${program}" cx="${fixed(x(point.leases))}" ` +
      `cy="${fixed(y(point[program]))}" r="3"><title>${point.leases} leases: ` +
      `${Number(point[program].toPrecision(3))}</title></circle>`
    );
    return `<polyline class="${program}" points="${path.join(" ")}"/>${dots.join("")}`;
  };
  const valueTicks = [0, top / 2, top].map((value) =>
    `<line class="axis" x1="${left}" y1="${fixed(y(value))}" x2="${left + PANEL.width}" ` +
    `y2="${fixed(y(value))}"/>` +
    `<text x="${left - 6}" y="${fixed(y(value) + 4)}" text-anchor="end">${value}</text>`
  );
  const leaseTicks = [0, maxLeases / 2, maxLeases].map((leases) =>
    `<text x="${fixed(x(leases))}" y="${bottom + 18}" text-anchor="middle">${leases}</text>`
  );
  return [
    `<text class="title" x="${left}" y="${PANEL.top - 12}">${title}</text>`,
    ...valueTicks,
    ...leaseTicks,
    `<text x="${left + PANEL.width / 2}" y="${bottom + 38}" text-anchor="middle">leases</text>`,
    line("theirs"),
    line("ours"),
  ].join("\n");
}

/** The next of 1, 2, 4, 5 and 10, times a power of ten, so that its half is a short number too. */
function roundUp(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 4, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

function fixed(value: number): string {
  return String(Number(value.toFixed(1)));
}
