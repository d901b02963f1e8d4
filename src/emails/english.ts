import type { Formats, Language, Origin, Suspicion } from './kinds.js'

const place = ({ city, country }: Origin) => [city, country].filter(Boolean).join(', ') || 'Unknown'

const origin = (data: Origin, formats: Formats) =>
  [
    ['Time', formats.time(data.at)],
    ['Device', data.deviceName || 'Unknown device'],
    ['Place', place(data)],
    ['IP address', data.ipAddress ?? 'Unknown'],
  ] as const

const RESET = 'Reset your password'

/** For those who know nothing of it. */
const NOT_ME = 'This was not me'
const notMe = ({ notMeLink }: { notMeLink: string }) => ({ label: NOT_ME, url: notMeLink })
const whatItDoes = ({ notMeSeconds }: { notMeSeconds: number }, formats: Formats) =>
  `The link below, "${NOT_ME}", ends all sessions, stops the password and sends you a mail with which you choose a new ` +
  `one. It works once, for ${formats.duration(notMeSeconds)}.`

const SUSPICIONS: Readonly<Record<Suspicion, string>> = {
  NEW_COUNTRY: 'It came from a country that your account was not used from before.',
  IMPOSSIBLE_TRAVEL: 'It came from so far away that nobody could have travelled there since the sign-in before.',
  SUCCESS_AFTER_FAILURES: 'Many failed attempts came before it.',
}

export const english: Language = {
  tag: 'en',
  greeting: (name) => (name === null ? 'Hello,' : `Hello ${name},`),
  footer: (productName) =>
    `${productName} sent this mail because of something that happened to an account with this address.`,
  emails: {
    'email-verification': ({ link, code, lifetimeSeconds, ...from }, formats) => ({
      subject: 'Verify your e-mail address',
      isAddressedByName: false,
      opening: [
        'Somebody, we hope you, has registered an account with this address: at the time and from the place below. ' +
          'If that was you, please verify that the address is yours.',
      ],
      facts: origin(from, formats),
      code: { label: 'Your code', value: code },
      link: { label: 'Verify e-mail address', url: link },
      closing: [
        `The link and the code work once, for ${formats.duration(lifetimeSeconds)}.`,
        'If this was not you, do not follow the link, and do not enter or pass on the code: you would open an account ' +
          'whose password somebody else knows. Without the link and the code nothing happens.',
      ],
    }),
    'existing-account': ({ loginLink, resetLink, ...from }, formats) => ({
      subject: 'You already have an account',
      isAddressedByName: false,
      opening: [
        'Somebody has tried to register with this address, but you already have an account.',
        'If it was you, sign in as usual, with the password that you had before.',
      ],
      facts: origin(from, formats),
      ...(loginLink && { link: { label: 'Sign in', url: loginLink } }),
      closing: [
        'If it was not you, there is nothing to do: your account is unchanged.',
        'If you have forgotten your password, you can choose a new one.',
      ],
      closingLink: { label: RESET, url: resetLink },
    }),
    'password-reset': ({ link, code, lifetimeSeconds }, formats) => ({
      subject: 'Reset your password',
      isAddressedByName: true,
      opening: ['Somebody, we hope you, has asked to reset the password of your account.'],
      code: { label: 'Your code', value: code },
      link: { label: 'Choose a new password', url: link },
      closing: [
        `The link and the code work once, for ${formats.duration(lifetimeSeconds)}. Never give the code to anybody.`,
        'If it was not you, ignore this mail: your password stays as it is.',
      ],
    }),
    'password-changed': (data, formats) => ({
      subject: 'Your password was changed',
      isAddressedByName: true,
      opening: ['The password of your account was changed. All your other sessions have ended.'],
      facts: origin(data, formats),
      closing: [
        'If it was you, there is nothing to do. If it was not, protect your account at once.',
        whatItDoes(data, formats),
      ],
      closingLink: notMe(data),
    }),
    'password-reset-completed': (data, formats) => ({
      subject: 'Your password was reset',
      isAddressedByName: true,
      opening: [
        'A new password was set for your account with the link or the code of a mail. All your sessions have ended.',
      ],
      facts: origin(data, formats),
      closing: [
        'If it was you, sign in with the new password. If it was not, somebody may be reading your mail: ' +
          'secure your mailbox, then protect your account.',
        whatItDoes(data, formats),
      ],
      closingLink: notMe(data),
    }),
    'new-device': (data, formats) => ({
      subject: 'New sign-in to your account',
      isAddressedByName: true,
      opening: ['Your account was used from a device that we have not seen before.'],
      facts: origin(data, formats),
      closing: [
        'If it was you, there is nothing to do. If it was not, protect your account at once.',
        whatItDoes(data, formats),
      ],
      closingLink: notMe(data),
    }),
    'account-locked': (data, formats) => ({
      subject: 'Your account is locked for a while',
      isAddressedByName: true,
      opening: [
        'There were too many failed attempts to sign in to your account, so we have locked it for a while. ' +
          'This is where the last attempt came from.',
      ],
      facts: [['Locked until', formats.time(data.lockedUntil)], ...origin(data, formats)],
      link: { label: RESET, url: data.resetLink },
      closing: [
        'You can sign in again when the lock has ended. If you have forgotten your password, reset it.',
        'If it was not you, your password has kept them out. If you fear that they may guess it, protect your account.',
        whatItDoes(data, formats),
      ],
      closingLink: notMe(data),
    }),
    'sessions-ended': (data, formats) => ({
      subject: 'We have ended a session of yours',
      isAddressedByName: true,
      opening: [
        data.hasGuessed
          ? 'Somebody who was signed in to your account has given a wrong current password many times, to change it. ' +
            'We have ended the session.'
          : 'A refresh token of your account was used a second time. That can mean that somebody has copied it, ' +
            'so we have ended the session.',
      ],
      facts: [...(data.sessionOn ? [['Session on', data.sessionOn] as const] : []), ...origin(data, formats)],
      closing: [
        'You can sign in again. If you do not know this device or place, protect your account first.',
        whatItDoes(data, formats),
      ],
      closingLink: notMe(data),
    }),
    'password-in-breach': ({ chosenAt, resetLink }, formats) => ({
      subject: 'Your password is known from a data breach',
      isAddressedByName: true,
      opening: [
        'The password that you have chosen for your account is on lists of passwords that were stolen elsewhere, which ' +
          'attackers try first. We could not find that out when you chose it.',
      ],
      facts: [['Chosen', formats.time(chosenAt)]],
      link: { label: RESET, url: resetLink },
      closing: [
        'Please choose another one, here and wherever else you use it. If you have changed it since, there is nothing to do.',
      ],
    }),
    'suspicious-login': (data, formats) => ({
      subject: 'Unusual sign-in to your account',
      isAddressedByName: true,
      opening: [
        'Somebody has signed in to your account, and something about it is unusual.',
        ...data.reasons.map((reason) => SUSPICIONS[reason]),
      ],
      facts: origin(data, formats),
      closing: [
        'If it was you, there is nothing to do. If it was not, protect your account at once.',
        whatItDoes(data, formats),
      ],
      closingLink: notMe(data),
    }),
  },
}
