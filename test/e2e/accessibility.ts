// What every page owes to everybody.
import type { Page } from 'playwright-core'
import { expect } from 'vitest'

/** What every page owes to people who cannot see it, or who use no mouse. */
export async function expectAccessible(page: Page): Promise<void> {
  expect(await page.locator('html').getAttribute('lang')).toBe('en')
  expect(await page.title()).toMatch(/.+ · Portcullis$/)
  expect(await page.locator('main').count()).toBe(1)
  expect(await page.locator('h1').count()).toBe(1)
  const found = await page.evaluate(() => {
    const shown = [
      ...document.querySelectorAll<HTMLElement>('a[href], button, summary, iframe, input:not([type=hidden])'),
    ]
    const nameOf = (element: HTMLElement) => {
      const labels = element instanceof HTMLInputElement ? [...(element.labels ?? [])] : [element]
      return labels.map((label) => label.textContent?.trim()).join('') || element.title
    }
    const ids = [...document.querySelectorAll('[id]')].map(({ id }) => id)
    const references = [...document.querySelectorAll('[aria-describedby]')].flatMap(
      (element) => element.getAttribute('aria-describedby')?.split(' ') ?? [],
    )
    return {
      nameless: shown.filter((element) => !nameOf(element)).map(({ outerHTML }) => outerHTML),
      ambiguousIds: ids.filter((id, index) => ids.indexOf(id) !== index),
      missingIds: references.filter((id) => !document.getElementById(id)),
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    }
  })
  expect(found).toEqual({ nameless: [], ambiguousIds: [], missingIds: [], overflow: 0 })
}

/** Everything that can be used is reached with Tab, and shows that it has the focus. Returns what it is. */
export async function tabThrough(page: Page): Promise<string[]> {
  const reached: string[] = []
  await page.locator('a[href]').first().focus()
  await page.keyboard.press('Shift+Tab')
  for (;;) {
    await page.keyboard.press('Tab')
    const focused = await page.evaluate(() => {
      const element = document.activeElement as HTMLElement
      const { outlineStyle, outlineWidth } = getComputedStyle(element)
      return {
        name: element.id || element.textContent?.trim() || element.tagName,
        isOutlined: outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 2,
        isBody: element === document.body,
      }
    })
    if (focused.isBody || reached.includes(focused.name)) return reached
    expect(focused).toMatchObject({ isOutlined: true })
    reached.push(focused.name)
  }
}

/** Runs in a page. Texts whose contrast is below 4.5:1 (WCAG 2.2, 1.4.3). */
export function findLowContrast(): string[] {
  const parse = (color: string) => (color.match(/[\d.]+/g) ?? []).map(Number)
  const channel = (value: number) => (value / 255 <= 0.04045 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4)
  const luminance = ([red = 0, green = 0, blue = 0]: number[]) =>
    0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue)
  const backgroundOf = (element: Element | null): number[] => {
    if (!element) return [255, 255, 255]
    const color = parse(getComputedStyle(element).backgroundColor)
    return color.length === 4 && color[3] === 0 ? backgroundOf(element.parentElement) : color
  }
  return [...document.querySelectorAll('body *')]
    .filter((element) => [...element.childNodes].some(({ nodeType, nodeValue }) => nodeType === 3 && nodeValue?.trim()))
    .flatMap((element) => {
      const levels = [luminance(parse(getComputedStyle(element).color)), luminance(backgroundOf(element))]
      const ratio = (Math.max(...levels) + 0.05) / (Math.min(...levels) + 0.05)
      return ratio < 4.5 ? [`${ratio.toFixed(2)}: ${element.outerHTML.slice(0, 100)}`] : []
    })
}
